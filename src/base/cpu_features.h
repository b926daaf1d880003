// What this processor can do, asked once.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cria {

// Levels of vector instructions that kernels are written for. Each level includes what it needs:
// kAvx2 = AVX2 + FMA + F16C, kAvx512Vnni = AVX-512 F/BW/DQ/VL + VNNI, kAmxInt8 =
// kAvx512Vnni + AMX-TILE/INT8, kNeonDotprod, kNeonI8mm.
enum class Isa : int {
  kGeneric = 0,
  kAvx2 = 1,
  kAvx512Vnni = 2,
  kNeonDotprod = 3,
  kNeonI8mm = 4,
  kAmxInt8 = 5,
};
inline constexpr Isa kAllIsas[] = {Isa::kGeneric, Isa::kAvx2,        Isa::kAvx512Vnni,
                                   Isa::kAmxInt8, Isa::kNeonDotprod, Isa::kNeonI8mm};

const char* isa_name(Isa isa);  // "generic", "avx2", ...
std::optional<Isa> isa_from_name(std::string_view name);
bool cpu_supports(Isa isa);    // on this processor, in this operating system
Isa best_isa();                // the best supported; CRIA_ISA=name lowers it, for tests
bool cpu_has_bf16_dot();       // beside the levels: AVX512_BF16, or FEAT_BF16 of Arm
std::string cpu_model_name();  // as /proc/cpuinfo tells it, else "unknown"

}  // namespace cria
