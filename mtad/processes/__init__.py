"""More cores: one supervisor, and the processes it runs, which are equal in everything (DESIGN D14).

The supervisor binds the sockets once and holds them; each process adopts them by inherited descriptors, opens its own
connections to the stores, and is a node of its own. No mail passes through the supervisor, and it never touches the
stores: should it be slow, nothing else is. What it has is the sockets, the number of each process, and the counters of
those that ended.

    plan         what was read of the configuration, checked, and is given to every process until the next reload
    sockets      the listening sockets, bound once, closed when no plan wants them
    backoff      how long a process that ended waits to be started again
    slot         one number and the process that has it: started, started again, replaced, stopped
    running      one process, from the supervisor's side
    governed     the same, from its own side
    link         the socket between the two: questions, answers and news, framed and bounded
    totals       the counters of all processes, those that ended among them, as one
    readiness    whether all of them together are ready
    supervisor   joins it: start, stop, reload, and the pages of HTTP

A process ends when its link does: a supervisor that is killed leaves nobody behind.
"""
