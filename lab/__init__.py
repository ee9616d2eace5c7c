"""The lab: a topology file in, hosts out. It may import `mesh.api` and `mesh.base`; nothing imports it.

    topology, units, faults    o pure: which hosts, what runs on them, what can be broken
    check                      preflight: can this machine carry a lab, and if not, the command that mends it
    driver                     the protocol behind which a kind of host hides
    netns/                     the driver that makes hosts of Linux namespaces
    provision, gates           what the mesh needs on fresh hosts, and how we know that it stands
    story                      `lab demo`: one order, told from evidence
    cli/                       the `lab` command

Tests and day-two commands speak to `lab.driver.Driver` alone and never know what made a host.
"""
