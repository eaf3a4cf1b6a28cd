"""Own the CPU models that a guest may have, and the complaint about any other.

The names are those of the official schema of 9.2 (`reported-model` of a custom model) and the four levels that
PVE::QemuServer::CPUConfig builds upon them; which flags a guest may set, and the words, were read there, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_MODELS = """486 a64fx athlon Broadwell Broadwell-IBRS Broadwell-noTSX Broadwell-noTSX-IBRS Cascadelake-Server
Cascadelake-Server-noTSX Cascadelake-Server-v2 Cascadelake-Server-v4 Cascadelake-Server-v5
ClearwaterForest Conroe Cooperlake Cooperlake-v2 core2duo coreduo cortex-a35 cortex-a53 cortex-a55
cortex-a57 cortex-a710 cortex-a72 cortex-a76 EPYC EPYC-Genoa EPYC-Genoa-v2 EPYC-IBPB EPYC-Milan
EPYC-Milan-v2 EPYC-Milan-v3 EPYC-Rome EPYC-Rome-v2 EPYC-Rome-v3 EPYC-Rome-v4 EPYC-Rome-v5 EPYC-Turin
EPYC-v3 EPYC-v4 EPYC-v5 GraniteRapids GraniteRapids-v2 GraniteRapids-v3 Haswell Haswell-IBRS
Haswell-noTSX Haswell-noTSX-IBRS host Icelake-Client Icelake-Client-noTSX Icelake-Server
Icelake-Server-noTSX Icelake-Server-v3 Icelake-Server-v4 Icelake-Server-v5 Icelake-Server-v6
Icelake-Server-v7 IvyBridge IvyBridge-IBRS KnightsMill kvm32 kvm64 max Nehalem Nehalem-IBRS neoverse-n1
neoverse-n2 neoverse-v1 Opteron_G1 Opteron_G2 Opteron_G3 Opteron_G4 Opteron_G5 Penryn pentium pentium2
pentium3 phenom qemu32 qemu64 SandyBridge SandyBridge-IBRS SapphireRapids SapphireRapids-v2
SapphireRapids-v3 SapphireRapids-v4 SierraForest SierraForest-v2 SierraForest-v3 Skylake-Client
Skylake-Client-IBRS Skylake-Client-noTSX-IBRS Skylake-Client-v4 Skylake-Server Skylake-Server-IBRS
Skylake-Server-noTSX-IBRS Skylake-Server-v4 Skylake-Server-v5 Westmere Westmere-IBRS"""
MODELS = frozenset((*_MODELS.split(), "x86-64-v2", "x86-64-v2-AES", "x86-64-v3", "x86-64-v4"))
_FLAGS = """aes amd-no-ssb amd-ssbd hv-evmcs hv-tlbflush ibpb md-clear nested-virt pcid pdpe1gb spec-ctrl ssbd
virt-ssbd"""
_FLAG = f"[+-](?:{'|'.join(_FLAGS.split())})"


def need_model(cpu: Mapping[str, Any]) -> None:
    """Raise ValueError where a guest cannot have that CPU. There are no custom models here."""
    name = str(cpu.get("cputype", ""))
    if not name:
        raise ValueError("CPU is missing cputype")
    if name.startswith("custom-"):
        raise ValueError(f"Custom cputype '{name.removeprefix('custom-')}' not found")
    if name not in MODELS:
        raise ValueError(f"Built-in cputype '{name}' is not defined (missing 'custom-' prefix?)")
    if cpu.get("flags") and not re.fullmatch(f"{_FLAG}(;{_FLAG})*", str(cpu["flags"])):
        raise ValueError(f"VM-specific CPU flags must be a subset of: {', '.join(_FLAGS.split())}")
    if "reported-model" in cpu:
        raise ValueError("Property 'reported-model' not allowed in VM-specific CPU config.")
