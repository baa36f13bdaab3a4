"""Messages to customers: an outbox, who is not to be written to, and the key of our links.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UP = """
alter table actions drop constraint actions_kind_check;
alter table actions add constraint actions_kind_check
  check (kind in ('refresh', 'retry', 'settle', 'hand_back', 'message'));
alter table decisions add column message_at timestamptz, add column message_kind text;
-- signs the links in messages and hashes addresses; it never leaves the database's reader
alter table engine_state add column link_key bytea not null
  default uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid());

create table messages (
  id bigint generated always as identity primary key,
  case_id text not null references cases (id),
  action_id bigint not null unique references actions (id),
  account text not null default '',
  customer_id text not null,
  kind text not null check (kind in ('update_method', 'authenticate', 'payment_failed')),
  channel text not null,
  language text,
  state text not null
    check (state in ('sending', 'sent', 'not_sent', 'bounced', 'unknown', 'shadow')),
  at timestamptz not null,
  begun_at timestamptz not null,
  message_id text unique,
  address_hash text,
  decision_id bigint references decisions (id),
  error text
);
create index messages_case on messages (case_id, at);
create index messages_customer on messages (account, customer_id, at);

create table suppressions (
  account text not null default '',
  address_hash text not null,
  reason text not null check (reason in ('unsubscribed', 'bounced', 'complained')),
  at timestamptz not null,
  primary key (account, address_hash)
);

create function guard_message() returns trigger language plpgsql as $$
declare
  its_state text;
  its_mode text;
begin
  if new.state <> 'sending' then
    return new;
  end if;
  select state, mode into its_state, its_mode from cases where id = new.case_id for share;
  if its_state not in ('open', 'needs_customer') or its_mode <> 'takeover' then
    raise exception 'case % is % in mode %: nobody is written to', new.case_id, its_state, its_mode
      using errcode = 'check_violation';
  end if;
  if (select paused from engine_state for share) then
    raise exception 'the engine is paused: nobody is written to' using errcode = 'check_violation';
  end if;
  return new;
end $$;
create trigger guard_message before insert on messages
  for each row execute function guard_message();

-- who is paid, held or paused is not written to: a planned message goes with the state
create function drop_message() returns trigger language plpgsql as $$
begin
  if new.state <> old.state and new.state not in ('open', 'needs_customer') then
    update actions set state = 'cancelled', finished_at = now(), result = 'case is ' || new.state
      where case_id = new.id and kind = 'message' and state = 'planned';
  end if;
  return new;
end $$;
create trigger drop_message after update on cases
  for each row execute function drop_message();
"""

DOWN = """
drop trigger drop_message on cases;
drop function drop_message;
drop table suppressions, messages;
drop function guard_message;
alter table engine_state drop column link_key;
alter table decisions drop column message_at, drop column message_kind;
delete from actions where kind = 'message';
alter table actions drop constraint actions_kind_check;
alter table actions add constraint actions_kind_check
  check (kind in ('refresh', 'retry', 'settle', 'hand_back'));
"""


def upgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(UP)


def downgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(DOWN)
