"""What is learnt from, and what was learnt: imported attempt logs, and models.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Two tables; at most one model is active."""
    op.execute(
        """
        create table attempt_log (
          row_hash text primary key,
          account text not null default '',
          customer_id text not null,
          at timestamptz not null,
          content jsonb not null
        );
        create index attempt_log_customer on attempt_log (account, customer_id, at);
        create table models (
          version text primary key,
          trained_at timestamptz not null,
          state text not null default 'stored' check (state in ('stored', 'active')),
          promoted_at timestamptz,
          sha256 text not null,
          card jsonb not null,
          file bytea not null
        );
        create unique index models_one_active on models (state) where state = 'active';
        """
    )


def downgrade() -> None:
    """Drop both; imported files and training bring them back."""
    op.execute("drop table models; drop table attempt_log;")
