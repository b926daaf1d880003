// Time and memory of compiling a checkpoint: `compile_bench SOURCE OUT.pte [RECIPE] [THREADS]`.
// One JSON object on stdout; peak_anonymous_bytes is what the process itself held, without mapped
// files.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "compile/compile.h"
#include "targets/cpu/cpu_target.h"

namespace {

long anonymous_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("RssAnon:", 0) == 0) return std::atol(line.c_str() + 8);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: compile_bench SOURCE OUT.pte [RECIPE] [THREADS]\n");
    return 1;
  }
  auto checkpoint = cria::open_checkpoint(argv[1]);
  if (!checkpoint.ok()) {
    std::fprintf(stderr, "%s\n", checkpoint.status().message().c_str());
    return 1;
  }
  long peak_kib = 0;
  cria::CompileRequest request;
  request.out_path = argv[2];
  request.recipe = argc > 3 ? argv[3] : "q4";
  request.n_threads = argc > 4 ? std::atoi(argv[4]) : 0;
  request.cria_version = "bench";
  request.progress = [&](std::string_view, std::uint64_t, std::uint64_t) {
    peak_kib = std::max(peak_kib, anonymous_kib());
    return true;
  };
  const auto summary = cria::compile_checkpoint(**checkpoint, cria::cpu_target(), request);
  if (!summary.ok()) {
    std::fprintf(stderr, "%s\n", summary.status().message().c_str());
    return 1;
  }
  double error = 0, weight = 0;
  for (const cria::TensorReport& tensor : summary->tensors) {
    const double n = static_cast<double>(tensor.n_rows) * static_cast<double>(tensor.n_cols);
    error += tensor.relative_mse * n;
    weight += n;
  }
  std::printf(
      "{\"recipe\": \"%s\", \"seconds\": %.2f, \"n_parameters\": %lld, \"file_bytes\": %llu, "
      "\"bits_per_weight\": %.3f, \"relative_mse\": %.3g, \"peak_anonymous_bytes\": %lld}\n",
      request.recipe.c_str(), summary->seconds, static_cast<long long>(summary->n_parameters),
      static_cast<unsigned long long>(summary->file_bytes), summary->bits_per_weight,
      weight > 0 ? error / weight : 0.0, 1024LL * peak_kib);
  return 0;
}
