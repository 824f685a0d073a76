"""The infrared camera beside that of a face, pinned with a profile's sensors; profiles of before have none."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("profile", sa.Column("infrared", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    """Revert; evidence is no longer held against the second camera of the enrolment."""
    op.drop_column("profile", "infrared")
