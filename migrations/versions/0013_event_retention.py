"""Raw events are not kept for ever: indexes that find what is old, and a mark on what was stripped.

Revision ID: 0013
Revises: 0012
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

UP = """
alter table inbox add column stripped_at timestamptz;
create index inbox_done on inbox (processed_at) where state in ('done', 'aside');
create index inbox_dead_whole on inbox (received_at)
  where state = 'dead' and stripped_at is null;
"""

DOWN = """
drop index inbox_dead_whole;
drop index inbox_done;
alter table inbox drop column stripped_at;
"""


def upgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(UP)


def downgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(DOWN)
