"""mtad, a multi-tenant mail transfer agent: the map.

The tree, lowest layer first; a module imports only from a lower layer or its own package:

    model/         L0  frozen values: address, envelope, reply, verdict, outcome, tenant, job, event, identity, units
                       and what else several layers speak of; the tables of replies and of the journal
    smtp/          L1  the protocol, bytes to events and back, no I/O: the server's side (server, states, commands),
                       the client's (client, answers), what both need (grammar, lines, dot_stuffing, timeouts)
    message/       L1  the octets of RFC 5322 messages: headers, author, submission, trace, authentication_fields and
                       _results; reports: dsn, notice, returned
    verification/  L1  whose mail it is, over DNS facts already known: spf, dkim, arc, dmarc, iprev, signing, keys,
                       and the records and fields these read
    policy/        L1  one stage a module: decide(facts) -> Verdict
    routing/       L1  where a recipient leads (route), which hosts take its mail (exchangers, guard)
    scheduling/    L1  when to try again (retry) or to tell that it takes long (delay_notice), whose turn it is
                       (fairness), how much memory is held (memory)
    interfaces.py  L2  the ports
    inbound/       L3  flow in
                       connections: factory, opening, proxied, admission, transport, protocol, backpressure
                       sessions: exchange, turns, dialogue, session, submission, vouched, envelopes
                       logins: login, authentication, credentials, verifiers, gate, failures
                       messages: routing, incoming, reception, screening, verification, lookups, identity_facts, signing
    outbound/      L3  flow out
                       the queue: queue, commits, books, ready, claiming, lanes, holding, worker, tasks
                       the node: membership, lease, housekeeping
                       deliveries: delivery, local, maildir, remote, pool, errand, client, session, content_flow,
                       patience, endings, lately
                       what came of them: settler, settlement, reporting, duty, bounce
    domains/       L3  care of domains: dns_check, keys, standing, look, service; records
    adapters/      L3  the outside, one library a module: clock, network, logs, metrics, redis, counters, passwords,
                       sealing, spool, spooled, pages, offload, offload_child; resolver/ for the DNS, tls/
        postgres/      the queue: queue, writer, lines, accepting, large, settling, recovery, statements, events,
                       binary, libpq; beside it: nodes, holds, wakeups, timeline
                       what people see and change: care, selected, spelling, fleet, audit
                       tenants: directory, cache, tenants, destinations, dkim_keys, key_care, domain_checks
                       connections and schema: pool, session, resolve, migrate
                       the embedded stores: embedded, place, accounts, binaries, servers, hiring, guardian, kept, locks
    testing/       L3  twins of the ports, and the world they make for tests
    web/           L4  health, ready, metrics; site, answer
    config/        L4  config.yaml and environment become Settings: kinds, sections, document, decoding, machine,
                       loading
    ports.py       L5  Settings and reactor become Ports
    service/       L5  build(settings, ports): all services, joined: server, flow_in, flow_out, steering, domain_care
    processes/     L5  the supervisor of several processes: supervisor, plan, sockets, slot, running, backoff, link,
                       readiness, pages, totals; governed is a process' own side
    tap.py         L6  `twistd mtad`; the only import of the reactor
    ctl/           L6  `mtactl`
    child.py       L7  one of several processes

The journey of a message:

     1  a connection                         adapters/network -> inbound/factory, opening, proxied, protocol
     2  bytes become commands                smtp/server, grammar, states, sasl, scram
     3  per command: facts                   inbound/session, submission, login over IDirectory, ICounters
     4  per command: verdict, then reply     policy/*
     5  end of data: accept or refuse        inbound/reception, policy/content
        who it is from: or quarantine        inbound/screening, verification, lookups around verification/*,
                                             policy/authentication
     6  a route for every recipient          inbound/routing around routing/route
     7  stamp                                message/submission, trace, inbound/signing around verification/signing
     8  accept: one transaction, then 250    outbound/queue, commits; IQueue.accept
     9  hand over or claim, unless held      outbound/queue, ready, claiming, lanes, worker around scheduling/fairness;
                                             holding around policy/holds
    10  deliver: hosts, TLS, talk            outbound/delivery, local, remote around routing/exchangers, guard; pool,
                                             errand, client, session around smtp/client; lease before the last dot
    11  when again                           scheduling/retry
    12  settle and report: one transaction   outbound/settler around settlement, reporting around duty, bounce;
                                             IQueue.settle

Arrows only go down; the one way back is 12 to 9, through the queue.
"""

__version__ = "0.1.0"
