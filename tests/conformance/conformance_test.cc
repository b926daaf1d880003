// What every delegate must do, on every instruction set and in every mode of activations.
//
// A delegate joins by a line in kDevices. One that answers kUnsupported is skipped, loudly.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "base/cpu_features.h"
#include "delegates/cpu/cpu_delegate.h"
#include "delegates/null/null_delegate.h"
#include "delegates/sim_npu/sim_npu_delegate.h"
#include "llm/program_model.h"
#include "lowered_decoder.h"
#include "reference.h"
#include "runtime/test_program.h"

namespace cria {
namespace {

// Compiles the decoder for a device.
using Write = Status (*)(const std::string& path, const DecoderShape& shape,
                         const WeightBytes& weights, bool a8);

template <const cria_delegate* (*kTable)()>
Status write_plans(const std::string& path, const DecoderShape& shape, const WeightBytes& weights,
                   bool) {
  return write_decoder(path, shape, weights, kTable()->name);
}

Status write_commands(const std::string& path, const DecoderShape& shape,
                      const WeightBytes& weights, bool a8) {
  CRIA_ASSIGN_OR_RETURN(const NpuProfileFile device, device_with_sram(std::uint64_t{8} << 20));
  return write_lowered(path, shape, weights, device, a8);
}

struct Device {
  const cria_delegate* (*table)();
  bool has_isas;  // takes the options "isa" and "act"
  Write write;
};
constexpr Device kDevices[] = {{null_delegate, false, write_plans<null_delegate>},
                               {cpu_delegate, true, write_plans<cpu_delegate>},
                               {sim_npu_delegate, true, write_commands}};

struct Case {
  Device device;
  Isa isa;
  bool a8;
  KvType kv_type = KvType::kF16;
};
std::string case_name(const Case& c) {
  return std::string(c.device.table()->name) + "_" + isa_name(c.isa) + (c.a8 ? "_a8" : "_a16") +
         (c.kv_type == KvType::kF16 ? "" : "_kv8");
}
void PrintTo(const Case& c, std::ostream* out) { *out << case_name(c); }

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const Device& device : kDevices) {
    for (Isa isa : kAllIsas) {
      if (!cpu_supports(isa) || (!device.has_isas && isa != Isa::kGeneric)) continue;
      cases.push_back({device, isa, false});
      if (device.has_isas) cases.push_back({device, isa, true});
      if (device.has_isas) cases.push_back({device, isa, true, KvType::kQ8});
    }
  }
  return cases;
}

// Widths that are no multiples of 32 with one head of keys, and rows longer than a super block.
constexpr DecoderShape kNarrow{80, 112, 113, 5, 1, 16};
constexpr DecoderShape kWide{288, 320, 67, 6, 2, 48};

constexpr DecoderShape with_encodings(DecoderShape shape, int first) {
  shape.first_encoding = first;
  return shape;
}

std::vector<std::int32_t> random_ids(std::size_t n, const DecoderShape& shape) {
  std::mt19937 random(42);
  std::vector<std::int32_t> ids(n);
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % shape.n_vocab);
  return ids;
}

// A decoder compiled for a device, and its cache.
struct Runner {
  std::unique_ptr<ProgramModel> model;
  KvCache cache;
  Status status;  // of the last forward

  std::vector<float> forward(std::span<const std::int32_t> ids, LogitRows rows = LogitRows::kLast) {
    const std::size_t n_rows = rows == LogitRows::kAll ? ids.size() : 1;
    std::vector<float> logits(n_rows * static_cast<std::size_t>(model->info().n_vocab));
    status = model->forward(ids, cache, rows, logits);
    return logits;
  }
};

class Conformance : public ::testing::TestWithParam<Case> {
 protected:
  void use(const DecoderShape& shape) {
    shape_ = shape;
    weights_ = random_weights(decoder_plan(shape, MethodKind::kVerify), 1);
    const Status status = GetParam().device.write(file_.path(), shape, weights_, GetParam().a8);
    ASSERT_TRUE(status.ok()) << status.message();
  }

  // nullopt and a failure if it does not load.
  std::optional<Runner> runner(int n_threads = 2, std::optional<Isa> isa = {}) {
    DelegateRegistry registry;
    EXPECT_TRUE(registry.add(GetParam().device.table()).ok());
    ExecutorOptions options;
    options.n_threads = n_threads;
    if (GetParam().device.has_isas) {
      options.options = {{"", "isa", isa_name(isa.value_or(GetParam().isa))},
                         {"", "act", GetParam().a8 ? "a8" : "a16"}};
    }
    Result<std::shared_ptr<const Program>> program = Program::load(file_.path());
    if (!program.ok()) ADD_FAILURE() << program.status().message();
    Result<std::unique_ptr<ProgramModel>> model = ProgramModel::create(*program, registry, options);
    if (!model.ok()) ADD_FAILURE() << model.status().message();
    if (!model.ok()) return std::nullopt;
    const std::uint64_t bytes = *kv_cache_bytes((*model)->info(), kContext);
    return Runner{std::move(*model), *KvCache::allocate(bytes), {}};
  }

  // Leaves the test, skipped, if the device runs nothing.
  bool runs_nothing(const Runner& runner) {
    return runner.status.code() == ErrorCode::kUnsupported;
  }

  DecoderShape shape_;
  WeightBytes weights_;
  TemporaryFile file_;
};

#define USE_OR_SKIP(runner, n_threads)                                       \
  std::optional<Runner> runner##_or = this->runner(n_threads);               \
  ASSERT_TRUE(runner##_or.has_value());                                      \
  Runner& runner = *runner##_or;                                             \
  runner.forward(std::vector<std::int32_t>{0});                              \
  if (runs_nothing(runner))                                                  \
    GTEST_SKIP() << "this device runs nothing: " << runner.status.message(); \
  ASSERT_TRUE(runner.status.ok()) << runner.status.message();                \
  runner.cache.wipe()

// The largest distance of two rows of logits, relative to the largest logit. Not a number is as far
// away as can be.
double distance(std::span<const float> actual, std::span<const double> expected) {
  double largest = 0, worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    const double error = std::abs(actual[i] - expected[i]);
    if (!(error <= worst)) worst = std::isnan(error) ? INFINITY : error;
  }
  return worst / largest;
}

// Distances of all rows of a run from the reference, and how far the roundings that a mode does on
// purpose move the reference itself.
struct Comparison {
  std::vector<double> errors;
  double noise = 0;
};

Comparison compare(Runner& runner, const Plan& plan, const WeightBytes& weights, bool a8,
                   std::span<const std::int32_t> ids) {
  runner.cache.wipe();
  const std::vector<float> actual = runner.forward(ids, LogitRows::kAll);
  const std::vector<std::int64_t> tokens(ids.begin(), ids.end());
  const std::vector<double> expected = ReferenceModel(plan, weights, a8).run(tokens);
  const std::vector<double> other = ReferenceModel(plan, weights, !a8).run(tokens);
  Comparison result;
  const auto n_vocab = static_cast<std::size_t>(plan.n_vocab);
  for (std::size_t at = 0; at < expected.size(); at += n_vocab) {
    const std::span row(expected.data() + at, n_vocab);
    const std::vector<float> rounded(other.begin() + at, other.begin() + at + n_vocab);
    result.errors.push_back(distance({actual.data() + at, n_vocab}, row));
    result.noise = std::max(result.noise, distance(rounded, row));
  }
  return result;
}

// Sums of at most 320 terms in float differ from those in double by 320 * 2^-24 at most; what comes
// on top is a key or value that lies so close to the middle of two half floats that it is rounded
// the other way, which moves it, and no logit by more, by 2^-11 of its size.
constexpr double kFloatTolerance = 0x1p-11;

TEST_P(Conformance, EqualsTheScalarReference) {
  if (GetParam().kv_type != KvType::kF16) {
    GTEST_SKIP() << "the reference keeps exact keys; kernels_test holds int8 ones against sums";
  }
  if (GetParam().device.table == sim_npu_delegate && GetParam().isa != Isa::kGeneric) {
    GTEST_SKIP() << "it computes with the kernels of the cpu delegate, which are held against the "
                    "reference";
  }
  int n_rows = 0, n_equal = 0;
  // Short sequences for a8: see below.
  const std::size_t length = GetParam().a8 ? 4 : kContext;
  for (const DecoderShape& base : {kNarrow, kWide}) {
    for (int first_encoding = 0; first_encoding < kEncodingCount; first_encoding += 3) {
      SCOPED_TRACE(first_encoding);
      ASSERT_NO_FATAL_FAILURE(use(with_encodings(base, first_encoding)));
      USE_OR_SKIP(runner, 2);
      const Plan plan = decoder_plan(shape_, MethodKind::kVerify);
      const std::vector<std::int32_t> ids = random_ids(kContext, shape_);
      for (std::size_t first = 0; first < ids.size(); first += length) {
        const Comparison result =
            compare(runner, plan, weights_, GetParam().a8, std::span(ids).subspan(first, length));
        for (double error : result.errors) {
          EXPECT_LT(error, GetParam().a8 ? 3 * result.noise : kFloatTolerance);
          n_equal += error < kFloatTolerance;
          ++n_rows;
        }
      }
    }
  }
  // In a8 a value close to the middle of two int8 codes may be rounded the other way, after which
  // most roundings behind it fall differently: such a row is off by as much as the mode itself is
  // from exact activations. They must be few, which short sequences see to.
  EXPECT_GT(n_equal, n_rows * 3 / 4);
}

// The rest compares bits, on a shape that mixes dense and block encodings in one projection.
constexpr DecoderShape kMixed = with_encodings(kNarrow, 16);

DecoderShape mixed(KvType kv_type) {
  DecoderShape shape = kMixed;
  shape.kv_type = kv_type;
  if (kv_type == KvType::kQ8) shape.head_dim = 32;  // one block
  return shape;
}

TEST_P(Conformance, ChunksDoNotShow) {
  ASSERT_NO_FATAL_FAILURE(use(mixed(GetParam().kv_type)));
  USE_OR_SKIP(runner, 2);
  const std::vector<std::int32_t> ids = random_ids(13, shape_);
  const std::vector<float> whole = runner.forward(ids);
  for (const std::vector<std::size_t>& cuts :
       {std::vector<std::size_t>{1, 12}, {5, 8}, {8, 1, 4}, {3, 3, 3, 3, 1}, {12, 1}}) {
    runner.cache.reset();
    std::span<const std::int32_t> rest = ids;
    std::vector<float> logits;
    for (std::size_t n : cuts) {
      logits = runner.forward(rest.first(n));
      ASSERT_TRUE(runner.status.ok()) << runner.status.message();
      rest = rest.subspan(n);
    }
    EXPECT_EQ(logits, whole);
  }
}

TEST_P(Conformance, DecodePrefillAndVerifyAgree) {
  ASSERT_NO_FATAL_FAILURE(use(with_encodings(kWide, 11)));
  USE_OR_SKIP(runner, 2);
  const std::vector<std::int32_t> ids = random_ids(13, shape_);
  const std::vector<float> all = runner.forward(ids, LogitRows::kAll);
  runner.cache.wipe();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::vector<float> one = runner.forward({&ids[i], 1});
    ASSERT_TRUE(runner.status.ok()) << runner.status.message();
    EXPECT_EQ(std::memcmp(one.data(), &all[i * one.size()], one.size() * sizeof(float)), 0) << i;
  }
}

TEST_P(Conformance, ThreadsDoNotShow) {
  ASSERT_NO_FATAL_FAILURE(use(mixed(GetParam().kv_type)));
  std::vector<float> of_one;
  for (int n_threads : {1, 2, 3, 8}) {
    USE_OR_SKIP(runner, n_threads);
    std::vector<float> logits = runner.forward(random_ids(13, shape_));
    if (n_threads == 1) of_one = logits;
    EXPECT_EQ(logits, of_one) << n_threads << " threads";
  }
}

TEST_P(Conformance, InstructionSetsDoNotShow) {
  if (GetParam().isa == Isa::kGeneric)
    GTEST_SKIP() << "generic is what the others are held against";
  for (int first_encoding = 0; first_encoding < kEncodingCount; first_encoding += 4) {
    ASSERT_NO_FATAL_FAILURE(use(with_encodings(kWide, first_encoding)));
    USE_OR_SKIP(runner, 2);
    std::optional<Runner> generic = this->runner(2, Isa::kGeneric);
    ASSERT_TRUE(generic.has_value());
    const std::vector<std::int32_t> ids = random_ids(11, shape_);
    EXPECT_EQ(runner.forward(ids, LogitRows::kAll), generic->forward(ids, LogitRows::kAll));
  }
}

TEST_P(Conformance, ARunAfterAResetEqualsAFreshOne) {
  ASSERT_NO_FATAL_FAILURE(use(mixed(GetParam().kv_type)));
  USE_OR_SKIP(runner, 2);
  const std::vector<std::int32_t> ids = random_ids(20, shape_);
  const std::vector<float> fresh = runner.forward(std::span(ids).first(13));
  runner.cache.reset();
  runner.forward(std::span(ids).last(17));  // something else, further on
  runner.cache.reset();
  EXPECT_EQ(runner.forward(std::span(ids).first(13)), fresh);
  runner.cache.wipe();
  EXPECT_EQ(runner.forward(std::span(ids).first(13)), fresh);
}

TEST_P(Conformance, RewoundPositionsWereNeverWritten) {
  ASSERT_NO_FATAL_FAILURE(use(mixed(GetParam().kv_type)));
  USE_OR_SKIP(runner, 2);
  const std::vector<std::int32_t> ids = random_ids(12, shape_);
  runner.forward(std::span(ids).first(6));
  const std::vector<float> straight = runner.forward(std::span(ids).subspan(6, 3));
  runner.forward(std::span(ids).last(3));
  ASSERT_TRUE(runner.cache.rewind(6).ok());
  EXPECT_EQ(runner.forward(std::span(ids).subspan(6, 3)), straight);
}

TEST_P(Conformance, ASmallerCacheGivesTheSame) {
  ASSERT_NO_FATAL_FAILURE(use(mixed(GetParam().kv_type)));
  USE_OR_SKIP(runner, 2);
  const std::vector<std::int32_t> ids = random_ids(13, shape_);
  const std::vector<float> large = runner.forward(ids);
  const LanguageModelInfo& info = runner.model->info();
  const std::uint64_t held = *kv_cache_bytes(info, 13);
  runner.cache = *KvCache::allocate(held + 5);
  EXPECT_EQ(runner.forward(ids), large);
  while (runner.status.ok()) runner.forward({ids.data(), 1});
  EXPECT_EQ(runner.status.code(), ErrorCode::kOutOfResources);
  EXPECT_EQ(runner.cache.position(), static_cast<std::int64_t>(held / info.kv_bytes_per_position));
  const auto granularity = static_cast<std::uint64_t>(info.kv_granularity);
  runner.cache = *KvCache::allocate(granularity * info.kv_bytes_per_position - 1);
  runner.forward({ids.data(), 1});
  EXPECT_EQ(runner.status.code(), ErrorCode::kOutOfResources);
}

TEST_P(Conformance, TellsWhatRunsWhere) {
  ASSERT_NO_FATAL_FAILURE(use(mixed(GetParam().kv_type)));
  std::optional<Runner> runner = this->runner();
  ASSERT_TRUE(runner.has_value());
  EXPECT_THAT(runner->model->method_names(), ::testing::ElementsAre("decode", "prefill", "verify"));
  for (const std::string& name : runner->model->method_names()) {
    EXPECT_THAT((*runner->model->executor().method(name))->delegate_names(),
                ::testing::ElementsAre(GetParam().device.table()->name));
  }
  const LanguageModelInfo& info = runner->model->info();
  EXPECT_EQ(info.n_vocab, shape_.n_vocab);
  EXPECT_EQ(info.max_context, kContext);
  EXPECT_EQ(info.prefill_chunk, kMaxTokens);
  EXPECT_EQ(info.verify_chunk, kMaxTokens);
  EXPECT_EQ(info.bos_id, 1);
  EXPECT_THAT(info.eos_ids, ::testing::ElementsAre(2, 3));
}

INSTANTIATE_TEST_SUITE_P(Delegates, Conformance, ::testing::ValuesIn(all_cases()),
                         [](const auto& info) { return case_name(info.param); });

}  // namespace
}  // namespace cria
