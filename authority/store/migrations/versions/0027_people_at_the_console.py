"""Sessions of people whom an identity provider signed in; tokens that say whose they are there."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("operator_token", sa.Column("identity", sa.String(length=63), nullable=False, server_default=""))
    op.create_table(
        "person_session",
        sa.Column("lookup", sa.String(length=64), primary_key=True),
        sa.Column("person", sa.String(length=63), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["person"], ["oidc_person.name"], name=op.f("fk_person_session_person_oidc_person")),
    )
    op.create_index("ix_person_session_person", "person_session", ["person"])


def downgrade() -> None:
    """Revert; whoever a provider signed in signs in again by a token."""
    op.drop_index("ix_person_session_person", "person_session")
    op.drop_table("person_session")
    op.drop_column("operator_token", "identity")
