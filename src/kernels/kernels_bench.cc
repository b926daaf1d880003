// Speed of every kernel. Linear kernels run over the shapes of bench/shapes/*.txt, one thread:
//
//   kernels_bench --benchmark_filter='linear_a8/avx2/q4/llama_1b/gate_up'
//
// Counters: bytes_per_second = weights (or inputs) streamed, mac_per_second = multiply-adds.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/test_data.h"

namespace cria {
namespace {

using namespace test_data;

struct Shape {
  std::string name;  // "llama_1b/gate_up"
  std::int64_t n_rows;
  std::int64_t n_cols;
};

std::vector<Shape> read_shapes(const std::filesystem::path& folder) {
  std::vector<Shape> shapes;
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator(folder, error)) {
    std::ifstream in(file.path());
    for (std::string line; std::getline(in, line);) {
      Shape shape;
      std::istringstream fields(line);
      if (line.starts_with('#') || !(fields >> shape.name >> shape.n_rows >> shape.n_cols))
        continue;
      shape.name = file.path().stem().string() + "/" + shape.name;
      // More weights than any cache holds, but no more than needed: the rate is what counts.
      shape.n_rows = std::min<std::int64_t>(shape.n_rows, 16384);
      shapes.push_back(shape);
    }
  }
  std::sort(shapes.begin(), shapes.end(),
            [](const Shape& a, const Shape& b) { return a.name < b.name; });
  return shapes;
}

void set_rates(benchmark::State& state, double bytes, double macs) {
  using benchmark::Counter;
  state.counters["bytes_per_second"] = Counter(bytes, Counter::kIsIterationInvariantRate);
  state.counters["mac_per_second"] = Counter(macs, Counter::kIsIterationInvariantRate);
}

template <typename Args, typename MakeArgs>
void bench_linear(benchmark::State& state, void (*kernel)(const Args&), MakeArgs make_args,
                  Encoding encoding, const Shape& shape) {
  std::mt19937 random(1);
  // One random panel, repeated: packing a whole random matrix would take longer than the benchmark.
  const Weights panel = random_weights(encoding, kPanelRows, shape.n_cols, random);
  Weights w = {encoding, shape.n_rows, shape.n_cols, panel.panel_bytes, {}};
  const std::size_t size_bytes = *packed_size_bytes(encoding, shape.n_rows, shape.n_cols);
  w.packed = AlignedBuffer::allocate(size_bytes).value();
  for (std::size_t at = 0; at < size_bytes; at += panel.panel_bytes) {
    std::memcpy(w.packed.data() + at, panel.packed.data(), panel.panel_bytes);
  }
  const Activations a = random_activations(state.range(0), shape.n_cols, random);
  std::vector<float> out(static_cast<std::size_t>(a.n_tokens * shape.n_rows));
  const Args args = make_args(w, a, out.data());
  for (auto _ : state) {
    kernel(args);
    benchmark::ClobberMemory();
  }
  set_rates(state, static_cast<double>(size_bytes),
            static_cast<double>(a.n_tokens * shape.n_rows * shape.n_cols));
}

template <typename Args, typename MakeArgs>
void add_linear(const std::string& name, void (*kernel)(const Args&), bool dense,
                MakeArgs make_args) {
  for (const Shape& shape : read_shapes(CRIA_SHAPES_DIR)) {
    for (const EncodingSpec& spec : kEncodingTable) {
      if (spec.dense() && !dense) continue;
      benchmark::RegisterBenchmark((name + "/" + spec.name + "/" + shape.name).c_str(),
                                   [=](benchmark::State& state) {
                                     bench_linear(state, kernel, make_args, spec.encoding, shape);
                                   })
          ->ArgName("tokens")
          ->Arg(1)
          ->Arg(4)
          ->Arg(128);
    }
  }
}

void add_kernel(const std::string& name, void (*kernel)(const LinearA8Args&)) {
  add_linear(name, kernel, false, a8_args);
}

void add_kernel(const std::string& name, void (*kernel)(const LinearA16Args&)) {
  add_linear(name, kernel, true, a16_args);
}

constexpr std::int64_t kWidth = 8192;  // the widest row of Llama 3.2 1B and 3B

// `run(x, y, out)` over rows of kWidth floats.
template <typename Run>
void add_row(const std::string& name, Run run) {
  benchmark::RegisterBenchmark(name.c_str(), [run](benchmark::State& state) {
    std::mt19937 random(1);
    const auto x = random_floats(kWidth, random);
    const auto y = random_floats(kWidth, random);
    std::vector<float> out(kWidth);
    for (auto _ : state) {
      run(x.data(), y.data(), out.data());
      benchmark::ClobberMemory();
    }
    set_rates(state, kWidth * sizeof(float), kWidth);
  });
}

void add_kernel(const std::string& name, void (*kernel)(const QuantizeA8Args&)) {
  auto codes = std::make_shared<std::vector<std::int8_t>>(kWidth);
  auto blocks = std::make_shared<std::vector<A8Block>>(kWidth / kColumnGroup);
  add_row(name, [=](const float* x, const float*, float*) {
    kernel({x, kWidth, 1, 0, 1, kWidth, codes->data(), blocks->data()});
  });
}

void add_kernel(const std::string& name, void (*kernel)(const RmsNormArgs&)) {
  add_row(name, [=](const float* x, const float* y, float* out) {
    kernel({x, kWidth, 1, kWidth, y, 1e-5f, out, kWidth});
  });
}

void add_kernel(const std::string& name, void (*kernel)(const HadamardArgs&)) {
  for (std::int64_t block : {64, 1024, 8192}) {
    add_row(name + "/block:" + std::to_string(block),
            [=](const float* x, const float* y, float* out) {
              kernel({x, kWidth, 1, kWidth, block, y, false, out, kWidth});
            });
  }
}

void add_kernel(const std::string& name, void (*kernel)(const RopeArgs&)) {
  add_row(name, [=](const float* x, const float* y, float* out) {
    kernel({out, kWidth, 1, kWidth / 64, 64, x, y});
  });
}

void add_kernel(const std::string& name, void (*kernel)(const SwiGluArgs&)) {
  add_row(name, [=](const float* x, const float* y, float* out) {
    kernel({x, y, kWidth, 1, kWidth, out, kWidth});
  });
}

void add_kernel(const std::string& name, void (*kernel)(const UnaryArgs&)) {
  add_row(name, [=](const float* x, const float*, float* out) { kernel({x, out, kWidth}); });
}

void add_kernel(const std::string& name, void (*kernel)(const BinaryArgs&)) {
  add_row(name, [=](const float* x, const float* y, float* out) { kernel({x, y, out, kWidth}); });
}

void add_kernel(const std::string& name, void (*kernel)(const StoreF16Args&)) {
  add_row(name, [=](const float* x, const float*, float* out) {
    kernel({x, reinterpret_cast<std::uint16_t*>(out), kWidth});
  });
}

void add_kernel(const std::string&, void (*)(const StoreQ8Args&)) {}  // 64 bytes: nothing to see

struct AttentionShape {
  KvType type;
  std::int64_t n_heads;  // query heads of the KV head
  std::int64_t head_dim;
};

// `tokens` at the end of a cache of `positions`.
void bench_attention(benchmark::State& state, void (*kernel)(const AttentionArgs&),
                     const AttentionShape& shape) {
  const std::int64_t n_tokens = state.range(0), n_positions = state.range(1);
  std::mt19937 random(1);
  const std::int64_t width = shape.n_heads * shape.head_dim;
  const auto q = random_floats(n_tokens * width, random);
  const auto x = random_floats(n_positions * shape.head_dim, random);
  const KvHead k = kv_head(shape.type, x, shape.head_dim, false);
  const KvHead v = kv_head(shape.type, x, shape.head_dim, true);
  std::vector<float> out(q.size());
  for (auto _ : state) {
    kernel({q.data(), width, n_tokens, shape.n_heads, shape.head_dim, shape.type, shape.type,
            k.bytes.data(), v.bytes.data(), n_positions - n_tokens, 0.125f, out.data(), width});
    benchmark::ClobberMemory();
  }
  set_rates(state, static_cast<double>(k.bytes.size() + v.bytes.size()),
            static_cast<double>(2 * n_tokens * n_positions * width));
}

void add_kernel(const std::string& name, void (*kernel)(const AttentionArgs&)) {
  for (KvType type : {KvType::kF16, KvType::kQ8}) {
    for (auto [n_heads, head_dim] : {std::pair{4, 64}, std::pair{3, 128}}) {
      const AttentionShape shape = {type, n_heads, head_dim};
      benchmark::RegisterBenchmark(
          (name + "/" + kv_type_name(type) + "/heads:" + std::to_string(n_heads) +
           "/dim:" + std::to_string(head_dim))
              .c_str(),
          [kernel, shape](benchmark::State& state) { bench_attention(state, kernel, shape); })
          ->ArgNames({"tokens", "positions"})
          ->Args({1, 512})
          ->Args({1, 4096})
          ->Args({8, 4096});
    }
  }
}

const bool kRegistered = [] {
  for (Isa isa : kAllIsas) {
    if (!cpu_supports(isa)) continue;
    const Kernels& kernels = kernels_for(isa);
    const std::string suffix = std::string("/") + isa_name(isa);
#define CRIA_GENERIC_KERNEL(op, Args) add_kernel(#op + suffix, kernels.op);
#include "kernels/kernels.inc"
  }
  return true;
}();

}  // namespace
}  // namespace cria
