"""Accounts that do not answer, fair turns between accounts, and failures counted apart from claims.

Revision ID: 0011
Revises: 0010
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

UP = """
alter table actions
  add column failures integer not null default 0,
  add column waits integer not null default 0,
  add column held boolean not null default false;
create index actions_due_account on actions (account, due_at)
  where state = 'planned' and test_clock is null;

alter table inbox add column failures integer not null default 0;
alter table inbox drop constraint inbox_state_check;
alter table inbox add constraint inbox_state_check
  check (state in ('pending', 'done', 'dead', 'aside'));
drop index inbox_pending;
create index inbox_pending on inbox (account, next_try_at) where state = 'pending';
create index inbox_aside on inbox (received_at) where state = 'aside';

create table breakers (
  account text not null default '',
  cause text not null check (cause in ('withdrew', 'forbidden', 'unavailable')),
  failures integer not null,
  since timestamptz not null,
  next_probe_at timestamptz,
  given_up_at timestamptz,
  error text not null,
  primary key (account, cause)
);
"""

DOWN = """
drop table breakers;
drop index inbox_aside;
drop index inbox_pending;
create index inbox_pending on inbox (next_try_at) where state = 'pending';
update inbox set state = 'dead' where state = 'aside';
alter table inbox drop constraint inbox_state_check;
alter table inbox add constraint inbox_state_check check (state in ('pending', 'done', 'dead'));
alter table inbox drop column failures;
drop index actions_due_account;
alter table actions drop column failures, drop column waits, drop column held;
"""


def upgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(UP)


def downgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(DOWN)
