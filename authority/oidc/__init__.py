"""Operators of the site's identity provider: JWT access tokens (RFC 9068), verified by the keys that it publishes."""

from authority.oidc.compact import LONGEST, TokenRefused
from authority.oidc.provider import ProviderUnreachable
from authority.oidc.sign_on import SignOn, sign_on

__all__ = ["LONGEST", "ProviderUnreachable", "SignOn", "TokenRefused", "sign_on"]
