"""Own the options that a dnsmasq 2.90 knows, by whether they take a value, as its own --help lists them.

What an option means is in lib/lab/dns/dnsmasq_conf.py. Those that change answers and are not
simulated are named here, so that they are refused and not passed over.
"""

from __future__ import annotations


def _words(text: str) -> list[str]:
    return text.split()


PLAIN = frozenset(
    _words("""
    all-servers bind-dynamic bind-interfaces bogus-priv clear-on-reload conntrack dhcp-authoritative
    dhcp-client-update dhcp-fqdn dhcp-ignore-clid dhcp-no-override dhcp-rapid-commit dhcp-sequential-ip
    dns-loop-detect dnssec dnssec-check-unsigned dnssec-debug dnssec-no-timecheck domain-needed enable-ra
    expand-hosts filter-A filter-AAAA filterwin2k keep-in-foreground leasefile-ro local-service localise-queries
    localmx log-debug log-dhcp log-queries no-daemon no-hosts no-ident no-negcache no-ping no-poll no-resolv
    no-round-robin proxy-dnssec quiet-dhcp quiet-dhcp6 quiet-ra quiet-tftp read-ethers rebind-localhost-ok
    script-arp script-on-renewal selfmx stop-dns-rebind strict-order strip-mac strip-subnet tftp-lowercase
    tftp-no-blocksize tftp-no-fail tftp-secure tftp-single-port
    """)
)  # fmt: skip
VALUED = frozenset(
    _words("""
    add-cpe-id add-subnet addn-hosts address alias auth-peer auth-sec-servers auth-server auth-soa auth-ttl
    auth-zone bogus-nxdomain bridge-interface caa-record cache-rr cache-size cname conf-dir conf-file
    conf-script connmark-allowlist dhcp-boot dhcp-circuitid dhcp-duid dhcp-host dhcp-hostsdir dhcp-hostsfile
    dhcp-ignore dhcp-lease-max dhcp-leasefile dhcp-luascript dhcp-mac dhcp-match dhcp-name-match dhcp-option
    dhcp-option-force dhcp-optsdir dhcp-optsfile dhcp-pxe-vendor dhcp-range dhcp-relay dhcp-remoteid
    dhcp-reply-delay dhcp-script dhcp-scriptuser dhcp-subscrid dhcp-ttl dhcp-userclass dhcp-vendorclass
    dns-forward-max dns-rr dnssec-limits dnssec-timestamp domain dumpfile dumpmask dynamic-host edns-packet-max
    except-interface fast-dns-retry filter-rr group host-record hostsdir ignore-address interface interface-name
    ipset listen-address local local-ttl log-facility max-cache-ttl max-port max-tcp-connections max-ttl
    min-cache-ttl min-port mx-host mx-target naptr-record neg-ttl nftset no-dhcp-interface no-dhcpv4-interface
    no-dhcpv6-interface pid-file port port-limit ptr-record pxe-prompt pxe-service query-port ra-param
    rebind-domain-ok resolv-file rev-server server servers-file shared-network srv-host synth-domain tag-if
    tftp-max tftp-mtu tftp-port-range tftp-root trust-anchor txt-record user
    """)
)  # fmt: skip
EITHER = frozenset(
    _words("""
    add-mac bootp-dynamic connmark-allowlist-enable dhcp-alternate-port dhcp-broadcast dhcp-generate-names
    dhcp-ignore-names dhcp-proxy enable-dbus enable-tftp enable-ubus log-async tftp-unique-root umbrella
    use-stale-cache
    """)
)  # fmt: skip
NUMBERS = frozenset(
    _words("""
    cache-size dns-forward-max local-ttl max-ttl neg-ttl port
    """)
)  # fmt: skip
NOT_SIMULATED = frozenset(
    _words("""
    alias auth-zone bogus-nxdomain caa-record conf-script dns-rr dnssec dynamic-host filter-A filter-AAAA
    filter-rr filterwin2k hostsdir interface-name localmx mx-host mx-target naptr-record rev-server selfmx servers-file
    synth-domain
    """)
)  # fmt: skip
