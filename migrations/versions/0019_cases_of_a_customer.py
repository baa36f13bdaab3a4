"""A customer's cases are found without naming their account.

Revision ID: 0019
Revises: 0018
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute("drop index cases_customer")
    op.execute("create index cases_customer on cases (customer_id, account)")


def downgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute("drop index cases_customer")
    op.execute("create index cases_customer on cases (account, customer_id)")
