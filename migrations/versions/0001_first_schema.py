"""The first schema: inbox, cases and their history, the schedule, and the guards around money.

Revision ID: 0001
Revises:
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
create table inbox (
  id text primary key,
  event_id text not null,
  account text not null default '',
  type text not null,
  object_id text,
  api_version text,
  livemode boolean,
  payload jsonb not null,
  received_at timestamptz not null default now(),
  state text not null default 'pending' check (state in ('pending', 'done', 'dead')),
  tries integer not null default 0,
  next_try_at timestamptz not null default now(),
  claimed_until timestamptz,
  last_error text,
  processed_at timestamptz
);
create index inbox_pending on inbox (next_try_at) where state = 'pending';
create index inbox_dead on inbox (received_at) where state = 'dead';
create index inbox_object on inbox (object_id);

create table policies (
  version text primary key,
  content jsonb not null,
  first_used_at timestamptz not null default now()
);

create table cases (
  id text primary key,
  account text not null default '',
  invoice_id text not null,
  customer_id text not null,
  subscription_id text,
  payment_intent_id text,
  state text not null
    check (state in ('open', 'processing', 'needs_customer', 'in_review', 'paused', 'closed')),
  mode text not null check (mode in ('takeover', 'shadow', 'holdout')),
  policy_version text not null references policies (version),
  amount_remaining bigint not null check (amount_remaining >= 0),
  currency text not null,
  test_clock text,
  opened_at timestamptz not null,
  deadline_at timestamptz not null,
  closed_at timestamptz,
  close_reason text check (close_reason in (
    'recovered_by_engine', 'recovered_elsewhere', 'voided', 'uncollectible',
    'subscription_ended', 'disputed', 'exhausted', 'stopped')),
  billing_reason text,
  billing_interval text,
  invoice_created_at timestamptz,
  customer_country text,
  customer_timezone text,
  customer_since timestamptz,
  stripe_next_attempt_at timestamptz,
  taken_over boolean not null default false,
  default_method_id text,
  enriched boolean not null default false,
  pause_cause text,
  attempt_sequence integer not null default 0,
  constraint cases_invoice unique (account, invoice_id),
  constraint cases_closed_means_closed check (
    (state = 'closed') = (closed_at is not null)
    and (state = 'closed') = (close_reason is not null))
);
create index cases_customer on cases (account, customer_id);
create index cases_subscription on cases (account, subscription_id);
create index cases_payment_intent on cases (payment_intent_id);
create index cases_opened on cases (opened_at, id);
create index cases_living on cases (state) where state <> 'closed';

create table case_transitions (
  id bigint generated always as identity primary key,
  case_id text not null references cases (id),
  at timestamptz not null,
  recorded_at timestamptz not null default now(),
  name text not null,
  from_state text,
  to_state text not null,
  cause text not null,
  by text
);
create index case_transitions_case on case_transitions (case_id, id);

create table attempts (
  id bigint generated always as identity primary key,
  account text not null default '',
  customer_id text,
  case_id text references cases (id),
  sequence integer,
  at timestamptz not null,
  sent_at timestamptz,
  resolved_at timestamptz,
  source text not null check (source in ('stripe', 'engine', 'customer', 'manual')),
  outcome text not null
    check (outcome in ('succeeded', 'failed', 'requires_action', 'processing', 'unknown')),
  abandoned boolean not null default false,
  amount bigint not null,
  currency text not null,
  payment_method_id text,
  method_type text not null default 'card',
  card_brand text,
  card_country text,
  card_fingerprint text,
  decline_code text,
  advice_code text,
  network_advice_code text,
  network_decline_code text,
  outcome_type text,
  outcome_reason text,
  risk_level text,
  charge_id text,
  payment_intent_id text,
  idempotency_key text unique,
  action_id bigint,
  error text,
  constraint attempts_charge unique (account, charge_id),
  constraint attempts_of_the_engine_have_an_intent check (
    source <> 'engine' or (case_id is not null and sequence is not null
      and idempotency_key is not null and sent_at is not null))
);
create index attempts_case on attempts (case_id, at);
create index attempts_customer on attempts (account, customer_id, at);
create index attempts_card on attempts (card_fingerprint, at);
create index attempts_method on attempts (payment_method_id, at);
create index attempts_payment_intent on attempts (payment_intent_id);
create unique index attempts_one_in_flight on attempts (case_id)
  where source = 'engine' and outcome = 'unknown' and not abandoned;

create table payment_methods (
  account text not null default '',
  id text not null,
  customer_id text not null,
  type text not null,
  card_brand text,
  card_funding text,
  card_country text,
  card_exp_year integer,
  card_exp_month integer,
  card_fingerprint text,
  added_at timestamptz,
  changed_at timestamptz,
  authenticated_at timestamptz,
  mandate_active boolean,
  blocked_reason text,
  detached_at timestamptz,
  primary key (account, id)
);
create index payment_methods_customer on payment_methods (account, customer_id);

create table decisions (
  id bigint generated always as identity primary key,
  case_id text not null references cases (id),
  at timestamptz not null,
  recorded_at timestamptz not null default now(),
  kind text not null,
  retry_at timestamptz,
  payment_method_id text,
  success_probability double precision,
  expected_value bigint not null,
  propensity double precision not null,
  policy_version text not null,
  model_version text not null,
  inputs jsonb not null,
  inputs_hash text not null,
  candidates jsonb not null,
  reasons jsonb not null,
  carried_out boolean not null default false
);
create index decisions_case on decisions (case_id, id);

create table actions (
  id bigint generated always as identity primary key,
  case_id text not null references cases (id),
  kind text not null check (kind in ('refresh', 'retry', 'settle', 'hand_back')),
  state text not null default 'planned'
    check (state in ('planned', 'claimed', 'done', 'cancelled')),
  due_at timestamptz not null,
  account text not null default '',
  test_clock text,
  claimed_until timestamptz,
  claims integer not null default 0,
  payment_method_id text,
  decision_id bigint references decisions (id),
  requested_by text,
  created_at timestamptz not null default now(),
  finished_at timestamptz,
  result text
);
create index actions_due_real on actions (due_at) where state = 'planned' and test_clock is null;
create index actions_due_clock on actions (account, test_clock, due_at)
  where state = 'planned' and test_clock is not null;
create index actions_claimed on actions (claimed_until) where state = 'claimed';
create index actions_claimed_case on actions (case_id) where state = 'claimed';
create index actions_case on actions (case_id, id);
create unique index actions_one_of_a_kind on actions (case_id, kind) where state = 'planned';
create unique index actions_one_retry on actions (case_id)
  where kind = 'retry' and state in ('planned', 'claimed');

create table overrides (
  id bigint generated always as identity primary key,
  case_id text not null references cases (id),
  at timestamptz not null,
  recorded_at timestamptz not null default now(),
  by text not null,
  action text not null,
  reason text not null check (reason <> ''),
  before jsonb not null,
  after jsonb not null
);
create index overrides_case on overrides (case_id, id);

create table reviews (
  id text primary key,
  case_id text not null references cases (id),
  reason text not null,
  amount bigint not null,
  currency text not null,
  opened_at timestamptz not null,
  deadline_at timestamptz not null,
  proposal jsonb,
  state text not null default 'open' check (state in ('open', 'approved', 'rejected', 'withdrawn')),
  decided_at timestamptz,
  decided_by text,
  verdict_reason text
);
create unique index reviews_one_open on reviews (case_id) where state = 'open';
create index reviews_listing on reviews (state, opened_at, id);

create table risk_flags (
  account text not null default '',
  object_id text not null,
  kind text not null check (kind in ('dispute', 'early_fraud_warning')),
  customer_id text not null,
  charge_id text,
  at timestamptz not null,
  cleared_at timestamptz,
  primary key (account, object_id)
);
create index risk_flags_customer on risk_flags (account, customer_id);

create table clocks (
  account text not null default '',
  id text not null,
  frozen_time timestamptz not null,
  status text not null,
  read_at timestamptz not null,
  primary key (account, id)
);

create table engine_state (
  id boolean primary key default true check (id),
  paused boolean not null default false,
  reason text,
  by text,
  at timestamptz
);
insert into engine_state default values;

create unlogged table rate_limits (
  endpoint text primary key,
  next_free timestamptz not null
);
"""

# What the code already keeps to, the database keeps to as well: a bug, a second writer or a
# hand at a psql prompt cannot move money where nobody may.
GUARDS = """
create function guard_case_state() returns trigger language plpgsql as $$
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
  if old.state = 'closed' and (new.closed_at, new.close_reason) is distinct from
     (old.closed_at, old.close_reason) then
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
create trigger guard_case_state before update on cases
  for each row execute function guard_case_state();

create function guard_intent() returns trigger language plpgsql as $$
declare
  its_state text;
  its_mode text;
begin
  if new.source <> 'engine' or new.outcome <> 'unknown' then
    return new;
  end if;
  select state, mode into its_state, its_mode from cases where id = new.case_id for share;
  if its_state <> 'open' then
    raise exception 'case % is %: nothing may be charged', new.case_id, its_state
      using errcode = 'check_violation';
  end if;
  if its_mode <> 'takeover' then
    raise exception 'case % is in mode %: nothing may be charged', new.case_id, its_mode
      using errcode = 'check_violation';
  end if;
  if (select paused from engine_state for share) then
    raise exception 'the engine is paused: nothing may be charged'
      using errcode = 'check_violation';
  end if;
  if exists (select from attempts where case_id = new.case_id and not abandoned
             and outcome in ('unknown', 'processing', 'succeeded')) then
    raise exception 'case %: an attempt is in flight or has succeeded', new.case_id
      using errcode = 'check_violation';
  end if;
  return new;
end $$;
create trigger guard_intent before insert on attempts
  for each row execute function guard_intent();

create function guard_retry() returns trigger language plpgsql as $$
begin
  if new.kind = 'retry' and (select state from cases where id = new.case_id) <> 'open' then
    raise exception 'case % is not open: no retry can be planned', new.case_id
      using errcode = 'check_violation';
  end if;
  return new;
end $$;
create trigger guard_retry before insert on actions
  for each row execute function guard_retry();

create function append_only() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only', tg_table_name using errcode = 'check_violation';
end $$;
create trigger append_only before update or delete on case_transitions
  for each row execute function append_only();
create trigger append_only before update or delete on overrides
  for each row execute function append_only();
"""


def upgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(TABLES)
    op.execute(GUARDS)


def downgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(
        """
        drop table rate_limits, engine_state, clocks, risk_flags, reviews, overrides, actions,
          decisions, payment_methods, attempts, case_transitions, cases, policies, inbox;
        drop function guard_case_state, guard_intent, guard_retry, append_only;
        """
    )
