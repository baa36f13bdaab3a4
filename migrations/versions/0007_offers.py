"""Offers: a discount for paying, given once, within budgets, and taken back if unused; and changes
that customers make themselves.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

UP = """
alter table actions drop constraint actions_kind_check;
alter table actions add constraint actions_kind_check
  check (kind in ('refresh', 'retry', 'settle', 'hand_back', 'message', 'end', 'offer',
                  'offer_end', 'change', 'new_default'));
alter table decisions add column discount bigint not null default 0,
                      add column offer_propensity double precision;
-- when the link in it was first followed, by the case's clock
alter table messages add column visited_at timestamptz;

create table offers (
  id bigint generated always as identity primary key,
  case_id text not null unique references cases (id),
  account text not null default '',
  customer_id text not null,
  decision_id bigint references decisions (id),
  at timestamptz not null,
  until timestamptz not null,
  amount bigint not null check (amount > 0),
  currency text not null,
  way text not null default 'credit_note' check (way in ('credit_note', 'coupon')),
  state text not null check (state in
    ('open', 'taking', 'taken', 'ending', 'expired', 'withdrawn', 'refused')),
  taken_at timestamptz,
  pay_until timestamptz,
  sent_at timestamptz,
  given_as text,
  ended_at timestamptz,
  error text
);
create index offers_customer on offers (account, customer_id, at);
create index offers_spent on offers (currency, at);

create table changes (
  id bigint generated always as identity primary key,
  case_id text not null references cases (id),
  account text not null default '',
  customer_id text not null,
  subscription_id text not null,
  kind text not null check (kind in ('billing_day', 'pause')),
  at timestamptz not null,
  until timestamptz not null,
  amount bigint not null check (amount >= 0),
  currency text not null,
  state text not null check (state in ('taking', 'taken', 'refused')),
  sent_at timestamptz not null,
  error text,
  unique (case_id, kind)
);
create index changes_customer on changes (account, customer_id, at);
create index changes_spent on changes (currency, at);

-- nothing is given on a case that is not waiting for its payment, or while the engine is paused
create function guard_offer() returns trigger language plpgsql as $$
declare
  its_state text;
  its_mode text;
begin
  if new.state not in ('open', 'taking') or (tg_op = 'UPDATE' and new.state = old.state) then
    return new;
  end if;
  select state, mode into its_state, its_mode from cases where id = new.case_id for share;
  if its_state not in ('open', 'needs_customer') or its_mode <> 'takeover' then
    raise exception 'case % is % in mode %: nothing is offered', new.case_id, its_state, its_mode
      using errcode = 'check_violation';
  end if;
  if (select paused from engine_state for share) then
    raise exception 'the engine is paused: nothing is offered' using errcode = 'check_violation';
  end if;
  return new;
end $$;
create trigger guard_offer before insert or update on offers
  for each row execute function guard_offer();
create trigger guard_change before insert on changes
  for each row execute function guard_offer();

-- with the case ends what nobody has taken; what was taken and is not paid is taken back
create function drop_offer() returns trigger language plpgsql as $$
begin
  if new.state = 'closed' and old.state <> 'closed' then
    update offers set state = 'expired', ended_at = new.closed_at
      where case_id = new.id and state = 'open';
    update actions set state = 'cancelled', finished_at = now(), result = 'case is closed'
      where case_id = new.id and kind = 'offer_end' and state = 'planned'
        and not exists (select from offers
                        where case_id = new.id and state in ('taking', 'taken', 'ending'));
  end if;
  return new;
end $$;
create trigger drop_offer after update on cases
  for each row execute function drop_offer();
"""

DOWN = """
drop trigger drop_offer on cases;
drop function drop_offer;
drop table changes;
drop table offers;
drop function guard_offer;
alter table messages drop column visited_at;
alter table decisions drop column discount, drop column offer_propensity;
delete from actions where kind in ('offer', 'offer_end', 'change', 'new_default');
alter table actions drop constraint actions_kind_check;
alter table actions add constraint actions_kind_check
  check (kind in ('refresh', 'retry', 'settle', 'hand_back', 'message', 'end'));
"""


def upgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(UP)


def downgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(DOWN)
