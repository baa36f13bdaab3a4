"""What a model card shows and drift needs: the calibration plot, and the training data's shape.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Two columns; empty for models that were trained before."""
    op.execute("alter table models add column plot bytea, add column reference jsonb")


def downgrade() -> None:
    """Drop both; training brings them back."""
    op.execute("alter table models drop column plot, drop column reference")
