"""The last word before a request that charges; acts of people; reviews with all their reasons.

Revision ID: 0009
Revises: 0008
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

UP = """
-- Until then a request that charges may be on its way, by this clock; null: none was begun.
alter table attempts add column sending_until timestamptz;
-- the same moment's beginning on the engine's own clock
alter table attempts add column last_sent_at timestamptz;
update attempts set sending_until = clock_timestamp() + interval '3 minutes', last_sent_at = sent_at
  where source = 'engine' and outcome = 'unknown' and not abandoned;

alter table reviews add column reasons jsonb not null default '[]';
update reviews set reasons = jsonb_build_array(jsonb_build_object('text', reason, 'about', null));

create table acts (
  id bigint generated always as identity primary key,
  at timestamptz not null,
  recorded_at timestamptz not null default now(),
  by text not null,
  action text not null,
  subject text not null,
  reason text not null,
  before jsonb not null,
  after jsonb not null
);
create index acts_subject on acts (subject, id);
create trigger append_only before update or delete on acts
  for each row execute function append_only();
"""

# One statement, so one transaction: what it reads it also locks, and what it answered no stop that
# commits later can contradict. Called on the connection that holds the case's lock.
MAY_SEND = """
create function may_send(its_id bigint, begun_at timestamptz, on_its_way interval) returns text
language plpgsql as $$
declare
  its attempts%rowtype;
  its_case cases%rowtype;
begin
  select * into its from attempts where id = its_id;
  select * into its_case from cases where id = its.case_id for share;
  if its_case.state is distinct from 'open' then
    return 'the case is ' || coalesce(its_case.state, 'gone');
  end if;
  if its_case.mode <> 'takeover' then
    return 'the case is in mode ' || its_case.mode;
  end if;
  if (select paused from engine_state for share) then
    return 'the engine is paused';
  end if;
  update attempts set sending_until = clock_timestamp() + on_its_way, last_sent_at = begun_at
    where id = its_id and outcome = 'unknown' and not abandoned;
  if not found then
    return 'its outcome is known already';
  end if;
  return null;
end $$;
"""

# A case that was stopped while its charge was on its way may turn out to have been paid by it.
_KEEPS_ITS_END = """
  if old.state = 'closed' and (new.closed_at, new.close_reason) is distinct from
     (old.closed_at, old.close_reason)
"""
_UNLESS_PAID = """
     and not (new.closed_at = old.closed_at and new.close_reason = 'recovered_by_engine'
              and exists (select from attempts where case_id = old.id and source = 'engine'
                          and outcome = 'succeeded'))
"""
_GUARD = """
create or replace function guard_case_state() returns trigger language plpgsql as $$
begin
  if new.state <> old.state and (old.state, new.state) not in (
    ('open', 'processing'), ('open', 'needs_customer'), ('open', 'in_review'), ('open', 'paused'),
    ('open', 'closed'),
    ('processing', 'open'), ('processing', 'needs_customer'), ('processing', 'in_review'),
    ('processing', 'paused'), ('processing', 'closed'),
    ('needs_customer', 'open'), ('needs_customer', 'in_review'), ('needs_customer', 'paused'),
    ('needs_customer', 'closed'),
    ('in_review', 'open'), ('in_review', 'paused'), ('in_review', 'processing'),
    ('in_review', 'needs_customer'), ('in_review', 'closed'),
    ('paused', 'open'), ('paused', 'processing'), ('paused', 'needs_customer'),
    ('paused', 'in_review'), ('paused', 'closed')
  ) then
    raise exception 'case %: no way from % to %', old.id, old.state, new.state
      using errcode = 'check_violation';
  end if;
  <keeps_its_end> then
    raise exception 'case %: a closed case keeps its end', old.id using errcode = 'check_violation';
  end if;
  -- nothing is charged on a case that is not open: its planned retry goes with the state
  if new.state <> 'open' and old.state = 'open' then
    update actions set state = 'cancelled', finished_at = now(), result = 'case is ' || new.state
      where case_id = new.id and kind = 'retry' and state = 'planned';
  end if;
  if new.state = 'closed' and old.state <> 'closed' then
    update actions set state = 'cancelled', finished_at = now(), result = 'case is closed'
      where case_id = new.id and kind = 'refresh' and state = 'planned';
  end if;
  return new;
end $$;
"""


def upgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(UP)
    op.execute(MAY_SEND)
    op.execute(_GUARD.replace("<keeps_its_end>", _KEEPS_ITS_END + _UNLESS_PAID))


def downgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(_GUARD.replace("<keeps_its_end>", _KEEPS_ITS_END))
    op.execute(
        """
        drop table acts;
        drop function may_send;
        alter table reviews drop column reasons;
        alter table attempts drop column sending_until, drop column last_sent_at;
        """
    )
