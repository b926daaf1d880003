#include <algorithm>

#include "targets/sim_npu/lower_to_npu.h"

namespace cria {
namespace {

bool takes(const NpuProfile& profile, int block) {
  const auto size = static_cast<std::uint32_t>(block == kPerChannel ? 0 : block);
  return std::ranges::find(profile.limits.group_sizes, size) != profile.limits.group_sizes.end();
}

std::optional<Encoding> what_fits(const NpuProfile& profile, Encoding encoding) {
  const int wanted = encoding_spec(encoding).block;
  std::optional<Encoding> best;
  for (const int block : {kPerChannel, 128, 64, 32, 16}) {  // from wide to narrow
    const std::optional<Encoding> other = plain_encoding(encoding, block);
    if (!other || !takes(profile, block)) continue;
    if (!best || block >= wanted || encoding_spec(*best).block > wanted) best = other;
  }
  return best;
}

}  // namespace

Status check_groups(const NpuProfile& profile, Encoding encoding) {
  const EncodingSpec spec = encoding_spec(encoding);
  if (spec.dense() || takes(profile, spec.block)) return {};
  std::string sizes;
  for (const std::uint32_t size : profile.limits.group_sizes) {
    sizes += fmt::format("{}{}", sizes.empty() ? "" : ", ",
                         size == 0 ? "a whole row" : std::to_string(size));
  }
  const std::optional<Encoding> fits = what_fits(profile, encoding);
  return unsupported(
      "{} has groups of {}; {} takes groups of {}{}", spec.name,
      spec.block == kPerChannel ? "a whole row" : fmt::format("{} columns", spec.block),
      profile.name, sizes, fits ? fmt::format("; {} fits", encoding_spec(*fits).name) : "");
}

}  // namespace cria
