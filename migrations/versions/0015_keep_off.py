"""To stop a case and to give its invoice back to Stripe are two acts.

Revision ID: 0015
Revises: 0014
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

KINDS = (
    "'refresh', 'retry', 'settle', 'hand_back', 'message', 'end', 'offer', 'offer_end', 'change',"
    " 'new_default'"
)


def upgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    _only(KINDS + ", 'keep_off'")


def downgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute("delete from actions where kind = 'keep_off'")
    _only(KINDS)


def _only(kinds: str) -> None:
    op.execute("alter table actions drop constraint actions_kind_check")
    op.execute(
        f"alter table actions add constraint actions_kind_check check (kind in ({kinds})) not valid"
    )
    op.execute("alter table actions validate constraint actions_kind_check")
