#include <cstdlib>

#include "format/fuzz_patches.h"
#include "format/statistics/statistics_builder.h"
#include "format/statistics/statistics_file.h"

namespace {

std::string valid_file(bool with_hessian) {
  cria::StatisticsBuilder builder(2, with_hessian);
  builder.input("blk.0.attn_in", 3).input("output_in", 2);
  builder.window({{"blk.0.attn_in", {1, 2, 3, 4, 5, 6}}, {"output_in", {1, -1, 0.5f, 2}}});
  return builder.bytes();
}

// Touches everything that a parsed file points at.
void parse_and_walk(std::span<const std::byte> bytes) {
  const auto view = cria::StatisticsView::create(bytes, "fuzz.stats");
  if (!view.ok()) {
    if (view.status().message().empty()) std::abort();
    return;
  }
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < view->header().inputs.size(); ++i) {
    for (const cria::FixedSum& s : view->squares(i)) sum += s.low + s.high;
    for (const cria::FixedSum& s : view->absolutes(i)) sum += s.low + s.high;
    if (view->header().has_hessian) static_cast<void>(view->check_triangle(i, "fuzz.stats").ok());
  }
  if (view->header().n_tokens() < 1 || (sum == 1 && view->find("output_in") == 99)) std::abort();
  // What was read can be written, and read again.
  const auto head = cria::encode_statistics_header(view->header());
  if (head.size() != view->layout().header_bytes) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  for (const bool with_hessian : {false, true}) {
    static const std::string files[] = {valid_file(false), valid_file(true)};
    cria::for_each_patched(files[with_hessian ? 1 : 0], {data, size}, parse_and_walk);
  }
  return 0;
}
