"""What an invoice was like when it was taken over; a second subscription that a person has judged.

Revision ID: 0014
Revises: 0013
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

UP = """
-- Whether Stripe was going to retry it before we took it; null: taken before this was noted.
alter table cases add column auto_advance_found boolean;
-- The other subscription beside which, as a person has said, this invoice is owed all the same.
alter table cases add column owed_beside text;
"""

DOWN = """
alter table cases drop column owed_beside, drop column auto_advance_found;
"""


def upgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(UP)


def downgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(DOWN)
