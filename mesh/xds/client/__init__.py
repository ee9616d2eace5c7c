"""The client's half of a discovery stream, as pure machines: responses in, requests (ACK or NACK) out.

In: the server's responses, and what the caller makes of them. Out: requests to send and the resources held.
Imported by proxy.
"""
