"""Hosts as virtual machines: booted by Vagrant, set up by Ansible, reached by ssh.

    driver     `lab.driver.Driver`: the order of things, and nothing else
    hosts      a command on a host, its units, its files
    talk       the control plane, asked as its operator
    place      where a lab keeps its few files
    machines   Vagrant: boot, destroy, where a machine answers
    way_in     ssh: one connection to each machine that everything shares, and the ports that lead in
    play       Ansible, with what it is at
    units      systemd: how its units are those of the lab
    onto       the scripts that are laid onto a machine
    patience   what is waited for, how long, and what was said when it was too long

The machines start from a box that make-box.sh builds; accel.sh says whether they get hardware virtualisation. How they
look is in the Vagrantfile, what is on them in ansible/.
"""
