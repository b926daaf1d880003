// Speed of every kernel, one thread. Linear kernels run over the shapes of bench/shapes/*.txt, with
// weights from memory; attention over those of bench/shapes/attention/*.txt, with a cache in the
// caches of the processor:
//
//   kernels_bench --benchmark_filter='linear_a8/avx2/q4/llama_1b/gate_up'
//
// "read" and "int8_peak" are what the processor can do: loads of the same memory, multiply-adds out
// of registers. Counters: bytes_per_second = weights (or inputs) streamed, mac_per_second =
// multiply-adds. tools/kernel_table.py makes a page of some of it.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/peak/peak.h"
#include "kernels/test_data.h"

namespace cria {
namespace {

using namespace test_data;

struct Shape {
  std::string name;  // "llama_1b/gate_up"
  std::int64_t n_rows;
  std::int64_t n_cols;
};

// Calls `visit(name, fields)` for every line of the .txt files in a folder, ordered by file; name:
// that of the file.
template <typename Visit>
void for_each_line(const std::filesystem::path& folder, const Visit& visit) {
  std::vector<std::filesystem::path> files;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    if (file.path().extension() == ".txt") files.push_back(file.path());
  }
  std::sort(files.begin(), files.end());
  for (const auto& file : files) {
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);) {
      std::istringstream fields(line);
      if (!line.starts_with('#')) visit(file.stem().string(), fields);
    }
  }
}

std::vector<Shape> read_shapes() {
  std::vector<Shape> shapes;
  for_each_line(CRIA_SHAPES_DIR, [&](const std::string& file, std::istream& fields) {
    Shape shape;
    if (!(fields >> shape.name >> shape.n_rows >> shape.n_cols)) return;
    shape.name = file + "/" + shape.name;
    shape.n_rows = std::min<std::int64_t>(shape.n_rows, 16384);  // enough: the rate is what counts
    shapes.push_back(shape);
  });
  return shapes;
}

// More than the last caches hold, of which servers have hundreds of MB.
constexpr std::size_t kStreamBytes = std::size_t{512} << 20;

// Memory that matrices are copied to again and again, so that each run of a kernel reads one that
// is in no cache. One for all: filling a new one with zeros first would take as long as the rest.
AlignedBuffer& stream() {
  static AlignedBuffer buffer = [] {
    AlignedBuffer memory = AlignedBuffer::allocate(kStreamBytes).value();
    std::memset(memory.data(), 1, kStreamBytes);  // pages that were never written are all the same
    return memory;
  }();
  return buffer;
}

void set_rates(benchmark::State& state, double bytes, double macs) {
  using benchmark::Counter;
  state.counters["bytes_per_second"] = Counter(bytes, Counter::kIsIterationInvariantRate);
  state.counters["mac_per_second"] = Counter(macs, Counter::kIsIterationInvariantRate);
}

// Copies of a panel at the start of the stream.
void fill_stream(const Weights& panel, std::size_t size_bytes) {
  static Encoding filled_with = Encoding::kF32;
  static std::int64_t n_cols = 0;
  static std::size_t n_filled = 0;
  if (filled_with == panel.encoding && n_cols == panel.n_cols && n_filled >= size_bytes) return;
  for (std::size_t at = 0; at < size_bytes; at += panel.panel_bytes) {
    std::memcpy(stream().data() + at, panel.packed.data(), panel.panel_bytes);
  }
  filled_with = panel.encoding;
  n_cols = panel.n_cols;
  n_filled = size_bytes;
}

template <typename Args, typename MakeArgs>
void bench_linear(benchmark::State& state, void (*kernel)(const Args&), MakeArgs make_args,
                  Encoding encoding, const Shape& shape) {
  std::mt19937 random(1);
  // One random panel, repeated: packing a whole random matrix would take longer than the benchmark.
  const Weights panel = random_weights(encoding, kPanelRows, shape.n_cols, random);
  const std::size_t size_bytes = *packed_size_bytes(encoding, shape.n_rows, shape.n_cols);
  const std::size_t n_matrices = kStreamBytes / size_bytes;
  fill_stream(panel, n_matrices * size_bytes);
  const Activations a = random_activations(state.range(0), shape.n_cols, random);
  std::vector<float> out(static_cast<std::size_t>(a.n_tokens * shape.n_rows));
  Args args = make_args(panel, a, out.data());
  args.n_rows = args.out_stride = shape.n_rows;
  std::size_t next = 0;
  for (auto _ : state) {
    args.panels = stream().data() + next * size_bytes;
    next = (next + 1) % n_matrices;
    kernel(args);
    benchmark::ClobberMemory();
  }
  set_rates(state, static_cast<double>(size_bytes),
            static_cast<double>(a.n_tokens * shape.n_rows * shape.n_cols));
}

template <typename Args, typename MakeArgs>
void add_linear(const std::string& name, void (*kernel)(const Args&), bool dense,
                MakeArgs make_args) {
  for (const Shape& shape : read_shapes()) {
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

// `n_tokens` at the end of a cache of `n_positions`.
struct AttentionShape {
  std::int64_t n_heads;  // query heads of the KV head
  std::int64_t head_dim;
  std::int64_t n_tokens;
  std::int64_t n_positions;
};

void bench_attention(benchmark::State& state, void (*kernel)(const AttentionArgs&), KvType type,
                     const AttentionShape& shape) {
  const std::int64_t n_tokens = shape.n_tokens, n_positions = shape.n_positions;
  std::mt19937 random(1);
  const std::int64_t width = shape.n_heads * shape.head_dim;
  const auto q = random_floats(n_tokens * width, random);
  const auto x = random_floats(n_positions * shape.head_dim, random);
  const KvHead k = kv_head(type, x, shape.head_dim, false);
  const KvHead v = kv_head(type, x, shape.head_dim, true);
  std::vector<float> out(q.size());
  for (auto _ : state) {
    kernel({q.data(), width, n_tokens, shape.n_heads, shape.head_dim, type, type, k.bytes.data(),
            v.bytes.data(), n_positions - n_tokens, 0.125f, out.data(), width});
    benchmark::ClobberMemory();
  }
  // Each token sees the positions up to its own; two products.
  const std::int64_t n_seen = n_tokens * (n_positions - n_tokens) + n_tokens * (n_tokens + 1) / 2;
  set_rates(state, static_cast<double>(k.bytes.size() + v.bytes.size()),
            static_cast<double>(2 * n_seen * width));
}

void add_kernel(const std::string& name, void (*kernel)(const AttentionArgs&)) {
  const auto folder = std::filesystem::path(CRIA_SHAPES_DIR) / "attention";
  for (KvType type : {KvType::kF16, KvType::kQ8}) {
    for_each_line(folder, [&](const std::string& file, std::istream& fields) {
      AttentionShape shape;
      if (!(fields >> shape.n_heads >> shape.head_dim >> shape.n_tokens >> shape.n_positions))
        return;
      const std::string full_name = name + "/" + kv_type_name(type) + "/" + file +
                                    "/tokens:" + std::to_string(shape.n_tokens) +
                                    "/positions:" + std::to_string(shape.n_positions);
      benchmark::RegisterBenchmark(full_name.c_str(), [=](benchmark::State& state) {
        bench_attention(state, kernel, type, shape);
      });
    });
  }
}

void add_peaks(Isa isa) {
  const PeakLoops loops = peak_loops(isa);
  benchmark::RegisterBenchmark((std::string("read/") + isa_name(isa)).c_str(),
                               [loops](benchmark::State& state) {
                                 constexpr std::size_t kBytes = std::size_t{16} << 20;
                                 const std::byte* data = stream().data();
                                 std::size_t at = 0;
                                 for (auto _ : state) {
                                   loops.read(data + at, kBytes);
                                   at = (at + kBytes) % kStreamBytes;
                                 }
                                 set_rates(state, kBytes, 0);
                               });
  benchmark::RegisterBenchmark((std::string("int8_peak/") + isa_name(isa)).c_str(),
                               [loops](benchmark::State& state) {
                                 constexpr std::int64_t kRounds = 10000;
                                 for (auto _ : state) loops.int8.run(kRounds);
                                 set_rates(state, 0, kRounds * loops.int8.macs_per_round);
                               });
}

const bool kRegistered = [] {
  for (Isa isa : kAllIsas) {
    if (!cpu_supports(isa)) continue;
    add_peaks(isa);
    const Kernels& kernels = kernels_for(isa);
    const std::string suffix = std::string("/") + isa_name(isa);
#define CRIA_GENERIC_KERNEL(op, Args) add_kernel(#op + suffix, kernels.op);
#include "kernels/kernels.inc"
  }
  return true;
}();

}  // namespace
}  // namespace cria
