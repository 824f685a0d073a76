"""The `xfrm` sink."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from agent.errors import KeysLost, SinkFailed, StateError
from agent.hardening import wipe
from agent.sinks._interface import DataPlaneFacts, HeldKeys, sink_options
from agent.sinks.xfrm.client import (
    Connect,
    XfrmClient,
    add_state,
    extend_state,
    open_xfrm,
    put_policy,
    refusal,
    remove_policy,
    remove_state,
)
from agent.sinks.xfrm.ledger import Ledger, NetworkNote
from agent.sinks.xfrm.netlink import MalformedMessage
from agent.sinks.xfrm.options import XfrmOptions, check_options
from agent.sinks.xfrm.plan import NAMELESS, Changes, Wanted, add_prefixes, compare, is_ours, reqid_of, wanted
from protocol.delivery import KeyBundle


class XfrmSink:
    """Associations as security associations and policies of the kernel (RFC 4301, RFC 4303, RFC 4106).

    Every call reads the kernel's tables anew and changes what differs, so that what a crash or another program left is
    put right by the next one. States and policies of others are never touched.
    """

    name = "xfrm"

    def __init__(
        self, options: Mapping[str, Any], now: Callable[[], float] = time.time, connect: Connect = open_xfrm
    ) -> None:
        self._options = check_options(sink_options(self.name, options, XfrmOptions))
        self._ledger = Ledger(Path(self._options.state_dir))
        self._now = now
        self._connect = connect

    def serves(self, network: str) -> bool:
        """Whether the network is one of those that the configuration names, or it names none."""
        return not self._options.networks or network in self._options.networks

    def facts(self) -> DataPlaneFacts:
        """Where packets to this node shall go, if the configuration says so."""
        return DataPlaneFacts(endpoint=self._options.endpoint)

    def install(self, bundle: KeyBundle) -> None:
        """Make the network's states and policies those of `bundle`: states, then policies, then the end of old states.

        What cannot be installed is left out, with a policy that blocks, and named in `SinkFailed` once the rest is in:
        in `KeysLost` where new keys are all that it takes.
        """
        with self._at_work(f"installing keys of {bundle.network}") as client:
            want = wanted(bundle, self._options, self._now())
            try:
                self._note(bundle, want.reqid)
                changes = compare(want, client.dump(), self._ledger.used(), self._options)
                self._carry_out(client, changes, bundle.expires_at)
            finally:
                for state in want.states.values():
                    wipe(state.key)
        left_out = [*changes.unfit, *changes.lost]
        if left_out:
            what = f"xfrm sink: {len(left_out)} left out: {'; '.join(left_out[:5])}"
            raise SinkFailed(what, remedy="See docs/sinks.md.") if changes.unfit else KeysLost(what)

    def clear(self, network: str) -> None:
        """End every state of the network, and the policies under which its packets went; those that block stay."""
        with self._at_work(f"removing keys of {network}") as client:
            want = Wanted(reqid_of(network))
            add_prefixes(want, self._options)
            self._carry_out(client, compare(want, client.dump(), {}, self._options), 0.0)
            self._ledger.note(network, None)

    def held(self) -> list[HeldKeys]:
        """What the kernel holds of ours; a network whose name was lost goes by its reqid."""
        with self._at_work("listing keys") as client:
            notes = {note.reqid: (name, note) for name, note in self._ledger.notes().items()}
            counts: dict[int, int] = {}
            for state in client.dump().states:
                if is_ours(state.reqid):
                    counts[state.reqid] = counts.get(state.reqid, 0) + 1
        found = []
        for reqid, count in counts.items():
            name, note = notes.get(reqid, (f"{NAMELESS}{reqid:08x}", NetworkNote(reqid, [], 0.0)))
            found.append(HeldKeys(name, count, note.versions, note.expires_at or None))
        return sorted(found, key=lambda held: held.network)

    def stop(self) -> None:
        """Nothing: the kernel ends every state when its lease does, and the policies then let nothing through."""

    def _note(self, bundle: KeyBundle, reqid: int) -> None:
        """Before anything else, so that what a crash leaves in the kernel has a name."""
        for name, note in self._ledger.notes().items():
            if note.reqid == reqid and name != bundle.network:
                raise SinkFailed(
                    f"xfrm sink: the networks {name} and {bundle.network} have the same reqid {reqid:#x}",
                    remedy="Rename one of them at the authority.",
                )
        versions = sorted({association.version for association in bundle.associations})
        self._ledger.note(bundle.network, NetworkNote(reqid, versions, bundle.expires_at))

    def _carry_out(self, client: XfrmClient, changes: Changes, expires_at: float) -> None:
        now = self._now()
        seconds = int(expires_at - now)
        client.apply([put_policy(policy) for policy in changes.guards])
        client.apply([remove_state(state) for state in changes.replace])
        client.apply([add_state(state, seconds) for state in changes.add if seconds > 0])
        client.apply([extend_state(state, life) for state, life in changes.extend])
        self._ledger.record(changes.used, expires_at, now)
        client.apply([put_policy(policy) for policy in changes.switches])
        client.apply([remove_policy(policy) for policy in changes.drop_policies])
        client.apply([remove_state(state) for state in changes.drop_states])

    @contextmanager
    def _at_work(self, what: str) -> Iterator[XfrmClient]:
        try:
            with closing(self._connect()) as connection:
                yield XfrmClient(connection)
        except StateError as error:
            raise SinkFailed(f"xfrm sink: {what}: {error}", remedy=error.remedy) from None
        except MalformedMessage as error:
            raise SinkFailed(f"xfrm sink: {what}: {error}", remedy="Report this with `uname -r`.") from None
        except OSError as error:
            raise refusal(what, error) from None
