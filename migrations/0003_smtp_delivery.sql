-- Why: a domain's mail may be handed over by SMTP: 'smtp:ADDR' in domains.delivery. Older code runs beside this until
-- an operator first uses it.
-- Locks: domains in access exclusive mode while its rows are read once.
-- Oldest code that still runs: 1.

begin;
set local lock_timeout = '5s';

alter table domains drop constraint domains_delivery_check,
    add constraint domains_delivery_check check (delivery ~ '^(maildir:|lmtp:.|smtp:.)');

insert into schema_version (version, oldest_code) values (3, 1);
commit;
