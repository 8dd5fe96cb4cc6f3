"""mtad, a multi-tenant mail transfer agent: the map.

The tree, lowest layer first; a module imports only from a lower layer or its own package:

    model/         L0  frozen values: address, envelope, reply, verdict, outcome, tenant, job, event, identity, units
    smtp/          L1  the protocol, bytes to events and back, no I/O
    message/       L1  the octets of RFC 5322 messages: headers, author, submission, trace, dsn
    verification/  L1  whose mail it is, over DNS facts already known: spf, dkim, arc, dmarc, iprev, signing, keys
    policy/        L1  one stage a module: decide(facts) -> Verdict
    routing/       L1  where a recipient leads, and which hosts take its mail
    scheduling/    L1  when to try again or to tell that it takes long, whose turn it is, how much memory is held
    interfaces.py  L2  the ports
    inbound/       L3  flow in: factory, admission, backpressure, proxied, protocol, exchange, dialogue, login,
                       authentication, gate, turns, session, submission, routing, reception, screening,
                       verification, lookups
    outbound/      L3  flow out: queue, worker, books, claiming, ready, lanes, holding, delivery, local, remote, client,
                       session, patience, content_flow, endings, commits, duty, bounce
    domains/       L3  care of domains: dns_check, keys, standing, look, service; records
    adapters/      L3  the outside, one library a module
    testing/       L3  twins of the ports, and the world they make for tests
    web/           L4  health, ready, metrics
    config/        L4  config.yaml and environment become Settings: kinds, sections, document, decoding, loading
    ports.py       L5  Settings and reactor become Ports
    service/       L5  build(settings, ports): all services, joined
    processes/     L5  the supervisor of several processes: plan, sockets, slot, running, link, totals
    tap.py         L6  `twistd mtad`; the only import of the reactor
    ctl/           L6  `mtactl`
    child.py       L7  one of several processes

The journey of a message:

     1  a connection                         adapters/network -> inbound/factory, proxied, protocol
     2  bytes become commands                smtp/server, grammar, states, sasl, scram
     3  per command: facts                   inbound/session, submission, login over IDirectory, ICounters
     4  per command: verdict, then reply     policy/*
     5  end of data: accept or refuse        inbound/reception, policy/content
        who it is from: or quarantine        inbound/screening, verification, lookups around verification/*,
                                             policy/authentication
     6  a route for every recipient          inbound/routing around routing/route
     7  stamp                                message/submission, trace, inbound/signing around verification/signing
     8  accept: one transaction, then 250    IQueue.accept
     9  hand over or claim, unless held      outbound/queue, worker, claiming; outbound/holding around policy/holds
    10  deliver: hosts, TLS, talk            outbound/delivery, local, remote around routing/exchangers, guard; client,
                                             session around smtp/client
    11  when again                           scheduling/retry
    12  settle and report: one transaction   outbound/settler around settlement, duty, bounce; IQueue.settle

Arrows only go down; the one way back is 12 to 9, through the queue.
"""

__version__ = "0.1.0"
