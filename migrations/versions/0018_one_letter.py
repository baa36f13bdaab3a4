"""One letter about several invoices of a customer: each case keeps its own record of it.

Revision ID: 0018
Revises: 0017
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

UP = """
alter table messages alter column action_id drop not null,
  add column said_in bigint references messages (id),
  add constraint messages_letter_check check ((action_id is null) = (said_in is not null));
create index messages_letter on messages (said_in) where said_in is not null;
"""

DOWN = """
delete from messages where said_in is not null;
alter table messages drop constraint messages_letter_check, drop column said_in,
  alter column action_id set not null;
"""


def upgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(UP)


def downgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(DOWN)
