"""Own the clauses that BIND 9.18 knows in its configuration, as its named.conf(5) lists them."""

from __future__ import annotations


def _words(text: str) -> list[str]:
    return text.split()


STATEMENTS = frozenset(
    _words("""
    acl controls dlz dnssec-policy dyndb http include key key-store logging managed-keys masters options
    parental-agents plugin primaries server statistics-channels tls trust-anchors trusted-keys view zone
    """)
)  # fmt: skip
OPTIONS = frozenset(
    _words("""
    allow-new-zones allow-notify allow-query allow-query-cache allow-query-cache-on allow-query-on
    allow-recursion allow-recursion-on allow-transfer allow-update allow-update-forwarding also-notify
    alt-transfer-source alt-transfer-source-v6 answer-cookie attach-cache auth-nxdomain auto-dnssec
    automatic-interface-scan avoid-v4-udp-ports avoid-v6-udp-ports bindkeys-file blackhole catalog-zones
    check-dup-records check-integrity check-mx check-mx-cname check-names check-sibling check-spf
    check-srv-cname check-wildcard clients-per-query cookie-algorithm cookie-secret coresize datasize
    deny-answer-addresses deny-answer-aliases dialup directory disable-algorithms disable-ds-digests
    disable-empty-zone dns64 dns64-contact dns64-server dnskey-sig-validity dnsrps-enable dnsrps-options
    dnssec-accept-expired dnssec-dnskey-kskonly dnssec-loadkeys-interval dnssec-must-be-secure dnssec-policy
    dnssec-secure-to-insecure dnssec-update-mode dnssec-validation dnstap dnstap-identity dnstap-output
    dnstap-version dscp dual-stack-servers dump-file edns-udp-size empty-contact empty-server empty-zones-enable
    fetch-quota-params fetches-per-server fetches-per-zone files flush-zones-on-shutdown forward forwarders
    fstrm-set-buffer-hint fstrm-set-flush-timeout fstrm-set-input-queue-size fstrm-set-output-notify-threshold
    fstrm-set-output-queue-model fstrm-set-output-queue-size fstrm-set-reopen-interval geoip-directory
    glue-cache heartbeat-interval hostname http-listener-clients http-port http-streams-per-connection
    https-port interface-interval ipv4only-contact ipv4only-enable ipv4only-server ixfr-from-differences
    keep-response-order key-directory lame-ttl listen-on listen-on-v6 lmdb-mapsize lock-file
    managed-keys-directory masterfile-format masterfile-style match-mapped-addresses max-cache-size
    max-cache-ttl max-clients-per-query max-ixfr-ratio max-journal-size max-ncache-ttl max-query-count
    max-query-restarts max-records max-records-per-type max-recursion-depth max-recursion-queries
    max-refresh-time max-retry-time max-rsa-exponent-size max-stale-ttl max-transfer-idle-in
    max-transfer-idle-out max-transfer-time-in max-transfer-time-out max-types-per-name max-udp-size
    max-zone-ttl memstatistics memstatistics-file message-compression min-cache-ttl min-ncache-ttl
    min-refresh-time min-retry-time minimal-any minimal-responses multi-master new-zones-directory
    no-case-compress nocookie-udp-size notify notify-delay notify-rate notify-source notify-source-v6
    notify-to-soa nsec3-test-zone nta-lifetime nta-recheck nxdomain-redirect parental-source parental-source-v6
    pid-file port preferred-glue prefetch provide-ixfr qname-minimization query-source query-source-v6 querylog
    random-device rate-limit recursing-file recursion recursive-clients request-expire request-ixfr request-nsid
    require-server-cookie reserved-sockets resolver-nonbackoff-tries resolver-query-timeout
    resolver-retry-interval response-padding response-policy reuseport root-delegation-only root-key-sentinel
    rrset-order secroots-file send-cookie serial-query-rate serial-update-method server-id servfail-ttl
    session-keyalg session-keyfile session-keyname sig-signing-nodes sig-signing-signatures sig-signing-type
    sig-validity-interval sortlist stacksize stale-answer-client-timeout stale-answer-enable stale-answer-ttl
    stale-cache-enable stale-refresh-time startup-notify-rate statistics-file suppress-initial-notify
    synth-from-dnssec tcp-advertised-timeout tcp-clients tcp-idle-timeout tcp-initial-timeout
    tcp-keepalive-timeout tcp-listen-queue tcp-receive-buffer tcp-send-buffer tkey-dhkey tkey-domain
    tkey-gssapi-credential tkey-gssapi-keytab tls-port transfer-format transfer-message-size transfer-source
    transfer-source-v6 transfers-in transfers-out transfers-per-ns trust-anchor-telemetry try-tcp-refresh
    udp-receive-buffer udp-send-buffer update-check-ksk update-quota use-alt-transfer-source use-v4-udp-ports
    use-v6-udp-ports v6-bias validate-except version zero-no-soa-ttl zero-no-soa-ttl-cache zone-statistics
    """)
)  # fmt: skip
ZONE = frozenset(
    _words("""
    allow-query allow-query-on allow-transfer allow-update also-notify alt-transfer-source
    alt-transfer-source-v6 auto-dnssec check-dup-records check-integrity check-mx check-mx-cname check-names
    check-sibling check-spf check-srv-cname check-wildcard database dialup dlz dnskey-sig-validity
    dnssec-dnskey-kskonly dnssec-loadkeys-interval dnssec-policy dnssec-secure-to-insecure dnssec-update-mode
    file forward forwarders inline-signing ixfr-from-differences journal key-directory masterfile-format
    masterfile-style max-ixfr-ratio max-journal-size max-records max-records-per-type max-transfer-idle-out
    max-transfer-time-out max-types-per-name max-zone-ttl notify notify-delay notify-source notify-source-v6
    notify-to-soa nsec3-test-zone parental-agents parental-source parental-source-v6 serial-update-method
    sig-signing-nodes sig-signing-signatures sig-signing-type sig-validity-interval type update-check-ksk
    update-policy zero-no-soa-ttl zone-statistics
    """)
)  # fmt: skip
