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
#include "llm/program_model.h"
#include "reference.h"
#include "runtime/test_program.h"
#include "tiny_decoder.h"

namespace cria {
namespace {

struct Device {
  const cria_delegate* (*table)();
  bool has_isas;  // takes the options "isa" and "act"
  friend void PrintTo(const Device& device, std::ostream* out) { *out << device.table()->name; }
};
constexpr Device kDevices[] = {{null_delegate, false}, {cpu_delegate, true}};

struct Case {
  Device device;
  Isa isa;
  bool a8;
};
std::string case_name(const Case& c) {
  return std::string(c.device.table()->name) + "_" + isa_name(c.isa) + (c.a8 ? "_a8" : "_a16");
}
void PrintTo(const Case& c, std::ostream* out) { *out << case_name(c); }

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const Device& device : kDevices) {
    for (Isa isa :
         {Isa::kGeneric, Isa::kAvx2, Isa::kAvx512Vnni, Isa::kNeonDotprod, Isa::kNeonI8mm}) {
      if (!cpu_supports(isa) || (!device.has_isas && isa != Isa::kGeneric)) continue;
      cases.push_back({device, isa, false});
      if (device.has_isas) cases.push_back({device, isa, true});
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
    Status status = write_decoder(file_.path(), shape, weights_, GetParam().device.table()->name);
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

// The largest distance of two rows of logits, relative to the largest logit.
double distance(const std::vector<float>& actual, const std::vector<double>& expected) {
  double largest = 0, worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    // Not a number is as far away as can be.
    const double error = std::abs(actual[i] - expected[i]);
    worst = std::isnan(error) ? INFINITY : std::max(worst, error);
  }
  return worst / largest;
}

class Reference {
 public:
  Reference(const DecoderShape& shape, const WeightBytes& weights, bool a8)
      : model_(decoder_plan(shape, MethodKind::kVerify), weights, a8) {}
  std::vector<double> forward(std::span<const std::int32_t> ids) {
    return model_.run(std::vector<std::int64_t>(ids.begin(), ids.end()));
  }

 private:
  ReferenceModel model_;
};

TEST_P(Conformance, EqualsTheScalarReference) {
  for (const DecoderShape& base : {kNarrow, kWide}) {
    for (int first_encoding = 0; first_encoding < kEncodingCount; first_encoding += 3) {
      ASSERT_NO_FATAL_FAILURE(use(with_encodings(base, first_encoding)));
      USE_OR_SKIP(runner, 2);
      const std::vector<std::int32_t> ids = random_ids(kContext, shape_);
      const std::vector<float> logits = runner.forward(ids, LogitRows::kAll);
      ASSERT_TRUE(runner.status.ok()) << runner.status.message();
      Reference reference(shape_, weights_, GetParam().a8);
      const double error = distance(logits, reference.forward(ids));
      std::printf("error %g\n", error);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Delegates, Conformance, ::testing::ValuesIn(all_cases()),
                         [](const auto& info) { return case_name(info.param); });

}  // namespace
}  // namespace cria
