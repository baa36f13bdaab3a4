"""What the host application is told, written with what it tells of, and the door it goes through.

Revision ID: 0020
Revises: 0019
"""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

UP = """
create table outbox (
  id text primary key,
  type text not null constraint outbox_type_check check (type in ('recovery.opened',
    'recovery.needs_customer', 'recovery.message_sent', 'recovery.recovered', 'recovery.given_up',
    'recovery.closed')),
  account text not null default '',
  case_id text not null references cases (id),
  created timestamptz not null,
  body text not null,
  state text not null default 'pending'
    constraint outbox_state_check check (state in ('pending', 'delivered', 'dead')),
  since timestamptz not null,
  next_try_at timestamptz not null,
  claimed_until timestamptz,
  tries integer not null default 0,
  last_error text,
  finished_at timestamptz,
  constraint outbox_finished_check check ((state = 'pending') = (finished_at is null))
);
create index outbox_pending on outbox (next_try_at) where state = 'pending';
create index outbox_finished on outbox (state, finished_at) where state <> 'pending';
create index outbox_case on outbox (case_id);

create table outbound_door (
  id boolean primary key default true constraint outbound_door_one check (id),
  wanted boolean not null default false,
  claimed_until timestamptz,
  silences integer not null default 0,
  opens_at timestamptz,
  delivered bigint not null default 0,
  last_delivered_at timestamptz,
  last_error text
);
insert into outbound_door default values;
"""

DOWN = "drop table outbox, outbound_door;"


def upgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(UP)


def downgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(DOWN)
