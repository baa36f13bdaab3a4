"""Whose word a suppression was is not rewritten either.

Revision ID: 0017
Revises: 0016
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

UP = """
create trigger append_only before update or delete on suppression_acts
  for each row execute function append_only();
"""

DOWN = "drop trigger append_only on suppression_acts;"


def upgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(UP)


def downgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(DOWN)
