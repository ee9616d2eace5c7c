"""The ground floor: errors that say whose fault, durations, names, ports, and the clock as a protocol.

In: nothing. Out: values and exceptions. Everybody may import it; it imports only the standard library.
"""
