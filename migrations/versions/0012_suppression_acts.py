"""Who is not written to, by whose word; and a key of its own for what is kept of an address.

Hashes that exist go on with the key they were made with, so that nobody who wanted no more messages
is forgotten.

Revision ID: 0012
Revises: 0011
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

UP = """
alter table engine_state add column address_key bytea;
update engine_state set address_key = case
  when exists (select from suppressions) or exists (select from messages)
    or exists (select from renewals where address_hash is not null) then link_key
  else uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) end;
alter table engine_state
  alter column address_key set not null,
  alter column address_key
    set default (uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

create table suppression_acts (
  id bigint generated always as identity primary key,
  account text not null default '',
  address_hash text not null,
  act text not null check (act in ('suppressed', 'lifted')),
  reason text check (reason in ('bounced', 'complained', 'unsubscribed')),
  by text not null,
  note text,
  at timestamptz not null,
  check ((act = 'suppressed') = (reason is not null))
);
create index suppression_acts_address on suppression_acts (account, address_hash, id);
insert into suppression_acts (account, address_hash, act, reason, by, at)
  select account, address_hash, 'suppressed', reason, 'not recorded', at from suppressions;
"""

DOWN = """
drop table suppression_acts;
alter table engine_state drop column address_key;
"""


def upgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(UP)


def downgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(DOWN)
