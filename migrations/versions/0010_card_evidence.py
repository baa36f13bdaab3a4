"""What is known of a card: its expiry at each attempt, and how far a customer's charges were read.

Revision ID: 0010
Revises: 0009
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

UP = """
alter table attempts add column card_exp_year integer;
alter table attempts add column card_exp_month integer;
alter table cases add column charges_read_at timestamptz;
create index payment_methods_card on payment_methods (account, card_fingerprint);
"""

DOWN = """
drop index payment_methods_card;
alter table cases drop column charges_read_at;
alter table attempts drop column card_exp_month;
alter table attempts drop column card_exp_year;
"""


def upgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(UP)


def downgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(DOWN)
