"""Renewals that are going to fail: who is asked for another card before.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

UP = """
create table renewals (
  id bigint generated always as identity primary key,
  account text not null default '',
  customer_id text not null,
  subscription_id text not null,
  test_clock text,
  renews_at timestamptz not null,
  method_id text not null,
  kind text not null default 'card_expiring' check (kind in ('card_expiring', 'renewal_at_risk')),
  chance double precision check (chance between 0 and 1),
  model_version text,
  reason text,
  amount bigint not null,
  currency text not null,
  due_at timestamptz not null,
  state text not null default 'planned' check (state in
    ('planned', 'sending', 'sent', 'not_sent', 'bounced', 'unknown', 'dropped', 'mended')),
  claimed_until timestamptz,
  tries integer not null default 0,
  at timestamptz,
  message_id text unique,
  address_hash text,
  language text,
  result text,
  unique (account, subscription_id, renews_at)
);
create index renewals_due on renewals (due_at) where state in ('planned', 'sending');
create index renewals_customer on renewals (account, customer_id);
"""


def upgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute(UP)


def downgrade() -> None:
    op.execute("set lock_timeout = '5s'")
    op.execute("drop table renewals")
