"""Backups of a state folder: a consistent copy, sealed to somebody, verified; and bringing one back, fenced."""

from authority.backup.locks import KeyLock, Lock, PassphraseLock
from authority.backup.making import Made, make_backup
from authority.backup.refused import BackupError
from authority.backup.restoring import Restored, restore_backup

__all__ = ["BackupError", "KeyLock", "Lock", "Made", "PassphraseLock", "Restored", "make_backup", "restore_backup"]
