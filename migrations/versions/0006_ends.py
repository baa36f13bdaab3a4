"""What becomes of a subscription and an invoice in the end: an action that a pause holds back.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UP = """
alter table actions drop constraint actions_kind_check;
alter table actions add constraint actions_kind_check
  check (kind in ('refresh', 'retry', 'settle', 'hand_back', 'message', 'end'));
"""

DOWN = """
update actions set kind = 'hand_back' where kind = 'end';
alter table actions drop constraint actions_kind_check;
alter table actions add constraint actions_kind_check
  check (kind in ('refresh', 'retry', 'settle', 'hand_back', 'message'));
"""


def upgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(UP)


def downgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(DOWN)
