"""Which tables and which filter chain the next request of a connection gets: those of the moment it begins."""

from __future__ import annotations

from collections.abc import Callable

from mesh.proxy.connection.state import ProxyState
from mesh.proxy.filters.exchange import Handler
from mesh.proxy.filters.stack import stack_for
from mesh.proxy.tables.model import HttpChain


class InForce:
    """The chain of one connection, as the tables have it.

    Args:
        state: of the proxy.
        find_chain: the chain that the connection has in the current tables; None: it has none.
    """

    __slots__ = ("_find_chain", "_handler", "_state", "chain", "tables")

    def __init__(self, state: ProxyState, find_chain: Callable[[], HttpChain | None]) -> None:
        self._state = state
        self._find_chain = find_chain
        self.tables = state.tables
        self.chain = chain = find_chain()
        self._handler: Handler | None = None if chain is None else stack_for(chain)

    @property
    def handler(self) -> Handler:
        """Return the filters of the chain, which there must be."""
        assert self._handler is not None
        return self._handler

    def refresh(self) -> HttpChain | None:
        """Take the present tables; return the chain that they have for this connection."""
        if self.tables is not self._state.tables:
            self.tables = self._state.tables
            chain = self._find_chain()
            if chain is not self.chain:
                self.chain = chain
                self._handler = None if chain is None else stack_for(chain)
        return self.chain
