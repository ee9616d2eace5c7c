"""Hosts made of Linux namespaces. One outer set of namespaces holds the lab; killing its first process ends all.

    launch     runs outside: starts the lab's init, hands it sockets, notices its death
    init       PID 1 of the lab: bridges, hosts, the control socket, the preloaded code that hosts fork from
    host       PID 1 of one host: mounts, addresses, then the supervisor of its units
    supervisor starts units when their gates open, starts them again when they die
    spawn      one unit: fork, drop every right, run the entry (or exec the command)
    jobs       what an operator does from inside: bring up, add, fault; each is a short-lived process
    mounts, links, syscalls    the kernel's side

Nothing here has a route out: the outer namespaces have a bridge per datacenter and no uplink.
"""
