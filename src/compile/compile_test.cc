#include "compile/compile.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "base/mapped_file.h"
#include "compile/memory_checkpoint.h"
#include "format/plan/plan.h"
#include "format/pte/llm_method.h"
#include "format/pte/pte_reader.h"
#include "model/graph.h"
#include "quantize/recipe.h"
#include "quantize/rtn.h"
#include "targets/cpu/cpu_target.h"
#include "targets/null/null_target.h"
#include "tensor/float16.h"
#include "tensor/packing.h"
#include "tensor/zero_blocks.h"

namespace cria {
namespace {

namespace fs = std::filesystem;

class CompileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("cria_compile_test_{}", getpid());
    fs::remove_all(folder_);
    fs::create_directory(folder_);
    request_.out_path = (folder_ / "model.pte").string();
    request_.recipe = "iq4_nl";
    request_.cria_version = "1.2.3";
  }
  void TearDown() override { fs::remove_all(folder_); }

  Result<CompileSummary> compile(const Checkpoint& checkpoint) {
    return compile_checkpoint(checkpoint, cpu_target(), request_);
  }

  CompileSummary must_compile(const Checkpoint& checkpoint) {
    Result<CompileSummary> summary = compile(checkpoint);
    EXPECT_TRUE(summary.ok()) << summary.status().message();
    return summary.ok() ? *summary : CompileSummary();
  }

  void expect_error(const Checkpoint& checkpoint, ErrorCode code, const std::string& message) {
    const Result<CompileSummary> summary = compile(checkpoint);
    ASSERT_FALSE(summary.ok());
    EXPECT_EQ(summary.status().code(), code);
    EXPECT_NE(summary.status().message().find(message), std::string::npos)
        << summary.status().message();
    EXPECT_TRUE(fs::is_empty(folder_)) << "something was left behind";
  }

  std::string file_bytes() const {
    std::ifstream file(request_.out_path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  fs::path folder_;
  CompileRequest request_;
};

// A compiled program, mapped.
struct Opened {
  explicit Opened(const std::string& path)
      : mapped(std::move(*MappedFile::open(path))),
        file(std::move(*pte::read_pte(mapped.bytes(), path))) {}

  Plan plan(const std::string& method) const {
    const pte::ExecutionPlan* execution = file.program.find_method(method);
    EXPECT_NE(execution, nullptr) << method;
    Result<Plan> plan = decode_plan(file.delegate_blob(execution->delegates.at(0)), method);
    EXPECT_TRUE(plan.ok()) << plan.status().message();
    return std::move(*plan);
  }

  std::int64_t constant(const std::string& method, std::size_t i = 0) const {
    const pte::ExecutionPlan* execution = file.program.find_method(method);
    if (execution == nullptr) return -999;
    const pte::Value& value = execution->values.at(execution->outputs.at(i));
    return std::holds_alternative<bool>(value) ? std::get<bool>(value)
                                               : std::get<std::int64_t>(value);
  }

  MappedFile mapped;
  pte::PteFile file;
};

// Row `row` of a weight of the plan, as its kernel sees it.
std::vector<float> packed_row(const Opened& opened, const PlanWeight& weight, std::int64_t row) {
  const auto bytes = opened.file.named_data(weight.key);
  EXPECT_TRUE(bytes.has_value()) << weight.key;
  std::vector<float> floats(weight.n_cols);
  if (weight.packed) {
    EXPECT_EQ(bytes->size(), *packed_size_bytes(weight.encoding, weight.n_rows, weight.n_cols));
    decode_packed_row(weight.encoding, *bytes, weight.n_cols, row, floats);
  } else {
    EXPECT_EQ(bytes->size(), weight.n_cols * sizeof(float));
    std::memcpy(floats.data(), bytes->data(), bytes->size());
  }
  return floats;
}

std::vector<float> stored_row(const StoredWeight& stored, std::int64_t row) {
  std::vector<float> floats(stored.n_cols);
  decode_stored_row(stored.type, stored.row(row), floats);
  return floats;
}

// Every number of every weight survived: exactly for floats, up to one rounding for block types.
void expect_lossless(const Opened& opened, const Checkpoint& checkpoint) {
  for (const PlanWeight& weight : opened.plan("decode").weights) {
    if (weight.key == kRopeFrequencies) {
      EXPECT_EQ(packed_row(opened, weight, 0), checkpoint.config().rope_inverse_frequencies);
      continue;
    }
    const Result<const StoredWeight*> stored = checkpoint.weight(weight.key);
    ASSERT_TRUE(stored.ok()) << weight.key;
    for (std::int64_t row = 0; row < weight.n_rows; ++row) {
      const std::vector<float> found = packed_row(opened, weight, row);
      const std::vector<float> expected = stored_row(**stored, row);
      for (std::int64_t k = 0; k < weight.n_cols; ++k) {
        const float slack = encoding_spec(weight.encoding).dense() ? 0 : 2e-7f;
        // A min and a scaled code may cancel, so the rounding is that of the larger of them; no
        // block type has codes times scales more than 64 times its largest weight.
        ASSERT_NEAR(found[k], expected[k], slack * (std::fabs(expected[k]) + 1.0f))
            << weight.key << " row " << row << " column " << k;
      }
    }
  }
}

TEST_F(CompileTest, SourceLosesNothing) {
  for (const StorageType type : {StorageType::kF32, StorageType::kF16, StorageType::kBF16}) {
    const MemoryCheckpoint checkpoint(type);
    request_.recipe = "source";
    const CompileSummary summary = must_compile(checkpoint);
    const Opened opened(request_.out_path);
    expect_lossless(opened, checkpoint);
    for (const TensorReport& tensor : summary.tensors) EXPECT_EQ(tensor.relative_mse, 0);
  }
}

// Row `row` of a weight that may be without its zero blocks.
std::vector<float> sparse_row(const Opened& opened, const PlanWeight& weight, std::int64_t row) {
  const auto bytes = opened.file.named_data(weight.key);
  if (bytes->size() == *packed_size_bytes(weight.encoding, weight.n_rows, weight.n_cols)) {
    return packed_row(opened, weight, row);
  }
  const auto view = ZeroBlocksView::open(weight.encoding, weight.n_rows, weight.n_cols, *bytes);
  EXPECT_TRUE(view.ok()) << weight.key << ": " << view.status().message();
  std::vector<std::byte> panel(panel_layout(weight.encoding, weight.n_cols).size_bytes);
  view->fill_panel(row / kPanelRows, panel);
  std::vector<float> floats(weight.n_cols);
  decode_packed_row(weight.encoding, panel, weight.n_cols, row % kPanelRows, floats);
  return floats;
}

const PlanWeight& plan_weight(const Plan& plan, const std::string& key) {
  return *std::ranges::find(plan.weights, key, &PlanWeight::key);
}

// A matrix of zeros, one with a panel of zeros, and one with two zeros in four, stored smaller,
// with the same weights as in full.
TEST_F(CompileTest, ZerosAreLeftOutWithoutLoss) {
  const std::string all = "blk.0.ffn_up.weight", some = "blk.0.ffn_down.weight",
                    pairs = "blk.1.ffn_up.weight";
  MemoryCheckpoint checkpoint;
  for (std::int64_t i = 0; i < 80 * 96; ++i) checkpoint.set(all, i, 0.0f);
  for (std::int64_t i = 0; i < 16 * 80; ++i) checkpoint.set(some, i, 0.0f);
  for (std::int64_t i = 0; i < 80 * 96; ++i) {
    if (i % 4 < 2) checkpoint.set(pairs, i, 0.0f);
  }
  request_.recipe = "q4_0";
  request_.sparse = false;
  must_compile(checkpoint);
  const Opened full(request_.out_path);
  request_.sparse = true;
  request_.out_path = (folder_ / "sparse.pte").string();
  must_compile(checkpoint);
  const Opened sparse(request_.out_path);
  const Plan full_plan = full.plan("decode"), sparse_plan = sparse.plan("decode");
  for (const std::string& key : {all, some, pairs}) {
    const PlanWeight& weight = plan_weight(sparse_plan, key);
    EXPECT_LT(sparse.file.named_data(key)->size(), full.file.named_data(key)->size()) << key;
    for (std::int64_t row = 0; row < weight.n_rows; ++row) {
      ASSERT_EQ(sparse_row(sparse, weight, row), packed_row(full, plan_weight(full_plan, key), row))
          << key << " row " << row;
    }
  }
  EXPECT_EQ(plan_weight(sparse_plan, pairs).encoding, Encoding::kQ4S24);
  EXPECT_EQ(plan_weight(sparse_plan, all).encoding, Encoding::kQ4S24);  // zeros are pairs as well
  EXPECT_EQ(plan_weight(sparse_plan, some).encoding, Encoding::kQ4);
}

TEST_F(CompileTest, WideningIsExactAndNarrowingRounds) {
  const MemoryCheckpoint halves(StorageType::kF16);
  request_.recipe = "f32";
  must_compile(halves);
  expect_lossless(Opened(request_.out_path), halves);

  const MemoryCheckpoint floats(StorageType::kF32);
  request_.recipe = "bf16";
  const CompileSummary summary = must_compile(floats);
  const Opened opened(request_.out_path);
  for (const PlanWeight& weight : opened.plan("decode").weights) {
    if (!weight.packed) continue;
    const std::vector<float> found = packed_row(opened, weight, 3);
    const std::vector<float> expected = stored_row(**floats.weight(weight.key), 3);
    for (std::int64_t k = 0; k < weight.n_cols; ++k) {
      EXPECT_EQ(found[k], bf16_to_f32(f32_to_bf16(expected[k])));
    }
  }
  for (const TensorReport& tensor : summary.tensors) {
    if (tensor.n_rows == 1) continue;
    EXPECT_GT(tensor.relative_mse, 0) << tensor.name;
  }
}

TEST_F(CompileTest, ReportsTheLossOfEveryTensor) {
  const MemoryCheckpoint checkpoint(StorageType::kF16);
  const CompileSummary summary = must_compile(checkpoint);
  const Opened opened(request_.out_path);
  const Plan plan = opened.plan("decode");
  ASSERT_EQ(summary.tensors.size(), plan.weights.size());
  double bits = 0, elements = 0;
  for (const PlanWeight& weight : plan.weights) {
    const auto report = std::find_if(summary.tensors.begin(), summary.tensors.end(),
                                     [&](const TensorReport& r) { return r.name == weight.key; });
    ASSERT_NE(report, summary.tensors.end());
    EXPECT_EQ(report->encoding, weight.encoding);
    EXPECT_EQ(report->size_bytes, opened.file.named_data(weight.key)->size());
    if (!weight.packed) continue;
    bits += 8.0 * static_cast<double>(report->size_bytes);
    elements += static_cast<double>(weight.n_rows * weight.n_cols);
    QuantizeError error;
    for (std::int64_t row = 0; row < weight.n_rows; ++row) {
      error.add(measure_error(stored_row(**checkpoint.weight(weight.key), row),
                              packed_row(opened, weight, row)));
    }
    EXPECT_NEAR(report->relative_mse, error.relative_mse(), 1e-4 * error.relative_mse());
    EXPECT_NEAR(report->largest_error, error.largest, 1e-6);
    EXPECT_EQ(weight.encoding, weight.key == "token_embd.weight" ? Encoding::kQ8 : Encoding::kQ4Nl);
  }
  EXPECT_DOUBLE_EQ(summary.bits_per_weight, bits / elements);
  EXPECT_EQ(summary.file_bytes, fs::file_size(request_.out_path));
}

TEST_F(CompileTest, MethodsShareWeightsAndHaveTheirShapes) {
  request_.prefill_chunk = 48;
  request_.max_context = 100;
  must_compile(MemoryCheckpoint());
  const Opened opened(request_.out_path);
  const std::pair<const char*, std::int64_t> methods[] = {
      {"prefill", 48}, {"decode", 1}, {"verify", 32}};
  for (const auto& [name, max_tokens] : methods) {
    const Plan plan = opened.plan(name);
    EXPECT_EQ(plan.weights, opened.plan("decode").weights) << name;
    EXPECT_EQ(plan.max_tokens, max_tokens);
    EXPECT_EQ(plan.kv, (KvShape{2, 2, 16}));
    const Result<pte::LlmMethodShape> shape =
        pte::read_llm_method(*opened.file.program.find_method(name));
    ASSERT_TRUE(shape.ok()) << shape.status().message();
    EXPECT_EQ(shape->max_tokens, max_tokens);
    EXPECT_EQ(shape->n_positions, 100);
    EXPECT_EQ(shape->bytes_per_position, 4u * 2 * 2 * 16);
    EXPECT_EQ(shape->scratch_bytes, plan.scratch_bytes);
    EXPECT_EQ(shape->n_vocab, 50);
    EXPECT_EQ(shape->all_rows, std::string(name) == "verify");
  }
}

TEST_F(CompileTest, ConstantsMetadataAndTokenizer) {
  request_.tokenizer = {std::byte{1}, std::byte{2}, std::byte{3}};
  request_.prefill_chunk = 48;
  const CompileSummary summary = must_compile(MemoryCheckpoint());
  const Opened opened(request_.out_path);
  EXPECT_EQ(opened.constant("get_max_seq_len"), 48);
  EXPECT_EQ(opened.constant("get_max_context_len"), 128);
  EXPECT_EQ(opened.constant("get_vocab_size"), 50);
  EXPECT_EQ(opened.constant("get_bos_id"), 1);
  EXPECT_EQ(opened.constant("get_eos_ids", 0), 2);
  EXPECT_EQ(opened.constant("get_eos_ids", 1), 7);
  EXPECT_EQ(opened.constant("use_kv_cache"), 1);
  EXPECT_EQ(opened.constant("use_sdpa_with_kv_cache"), 0);
  EXPECT_EQ(opened.constant("enable_dynamic_shape"), 1);
  EXPECT_EQ(opened.constant("get_n_layers"), 2);
  EXPECT_EQ(opened.constant("get_n_kv_heads"), 2);
  EXPECT_EQ(opened.constant("get_head_dim"), 16);
  const auto tokenizer = opened.file.named_data("tokenizer");
  ASSERT_TRUE(tokenizer.has_value());
  EXPECT_TRUE(std::equal(tokenizer->begin(), tokenizer->end(), request_.tokenizer.begin(),
                         request_.tokenizer.end()));
  const auto metadata = opened.file.named_data("metadata");
  ASSERT_TRUE(metadata.has_value());
  const char* text = reinterpret_cast<const char*>(metadata->data());
  const auto json = nlohmann::json::parse(text, text + metadata->size(), nullptr, false);
  ASSERT_FALSE(json.is_discarded());
  EXPECT_EQ(json["recipe"], "iq4_nl");
  EXPECT_EQ(json["cria_version"], "1.2.3");
  EXPECT_EQ(json["n_parameters"], summary.n_parameters);
  EXPECT_EQ(json["weight_bytes"], summary.weight_bytes);
  EXPECT_EQ(json["tensors"]["blk.0.attn_q.weight"]["encoding"], "q4nl");
  EXPECT_EQ(json["config"]["hidden"], 96);
}

TEST_F(CompileTest, SameBytesForAnyNumberOfThreads) {
  const MemoryCheckpoint checkpoint(StorageType::kBF16);
  for (const char* recipe : {"iq4_nl", "q4_0+rotate", "f16+fold"}) {
    request_.recipe = recipe;
    request_.n_threads = 1;
    must_compile(checkpoint);
    const std::string once = file_bytes();
    ASSERT_FALSE(once.empty());
    for (const int n_threads : {1, 2, 5}) {
      request_.n_threads = n_threads;
      must_compile(checkpoint);
      EXPECT_TRUE(file_bytes() == once) << recipe << ", " << n_threads << " threads";
    }
  }
}

TEST_F(CompileTest, EveryRecipeCompiles) {
  const MemoryCheckpoint checkpoint;
  for (const RecipeSummary& recipe : recipe_summaries()) {
    request_.recipe = recipe.name;
    must_compile(checkpoint);
    EXPECT_EQ(Opened(request_.out_path).plan("prefill").weights.size(), 2u * 9 + 3) << recipe.name;
  }
}

TEST_F(CompileTest, TracesTheGraphsOfDecode) {
  int n_graphs = 0;
  request_.trace = [&](std::string_view, const std::string& text) {
    EXPECT_EQ(text.rfind("graph decode", 0), 0u);
    ++n_graphs;
  };
  must_compile(MemoryCheckpoint());
  EXPECT_EQ(n_graphs, 6);
}

TEST_F(CompileTest, RefusesBadWeightsByTensorAndRow) {
  for (const char* recipe : {"source", "iq4_nl", "mxfp4", "bf16"}) {
    request_.recipe = recipe;
    MemoryCheckpoint checkpoint;
    checkpoint.set("blk.1.ffn_up.weight", 96 * 5 + 7, NAN);
    expect_error(checkpoint, ErrorCode::kBadInput,
                 "file.blk.1.ffn_up.weight, row 5: column 7 is nan");
  }
  MemoryCheckpoint norm;
  norm.set("output_norm.weight", 3, INFINITY);
  expect_error(norm, ErrorCode::kBadInput, "file.output_norm.weight: column 3 is inf");
}

TEST_F(CompileTest, RefusesWhatOverflowsHalfFloats) {
  MemoryCheckpoint checkpoint;
  checkpoint.set("blk.0.ffn_down.weight", 0, 7e4f);
  request_.recipe = "f16";
  expect_error(checkpoint, ErrorCode::kBadInput, "use recipe f32 or bf16");
}

TEST_F(CompileTest, RefusesWeightsThatDoNotFit) {
  MemoryCheckpoint missing;
  missing.remove("blk.1.attn_k.weight");
  expect_error(missing, ErrorCode::kNotFound, "blk.1.attn_k.weight");
  MemoryCheckpoint narrow;
  --narrow.find("blk.1.attn_k.weight").n_cols;
  expect_error(narrow, ErrorCode::kBadInput, "file.blk.1.attn_k.weight: 32 x 95, expected 32 x 96");
  MemoryCheckpoint truncated;
  StoredWeight& weight = truncated.find("blk.1.attn_k.weight");
  weight.bytes = weight.bytes.first(weight.bytes.size() - 4);
  expect_error(truncated, ErrorCode::kBadInput, "expected 32 rows of 384");
}

TEST_F(CompileTest, RefusesBadRequests) {
  const MemoryCheckpoint checkpoint;
  const auto bad = [&](auto change, const std::string& message) {
    const CompileRequest good = request_;
    change(request_);
    expect_error(checkpoint, ErrorCode::kInvalidArgument, message);
    request_ = good;
  };
  bad([](CompileRequest& r) { r.recipe = "q7"; }, "recipe 'q7'");
  bad([](CompileRequest& r) { r.max_context = 129; },
      "context of 129 positions, expected 1 to 128");
  bad([](CompileRequest& r) { r.max_context = -1; }, "context of -1");
  bad([](CompileRequest& r) { r.prefill_chunk = 0; }, "at least 1");
  bad([](CompileRequest& r) { r.activations = "a4"; }, "expected a8 or a16");
}

TEST_F(CompileTest, TransformedProgramsHaveUnitGainsAndSigns) {
  const MemoryCheckpoint checkpoint;
  request_.recipe = "f32+rotate";
  const CompileSummary summary = must_compile(checkpoint);
  const Opened opened(request_.out_path);
  const auto floats_of = [&](const std::string& key) {
    const auto bytes = opened.file.named_data(key);
    EXPECT_TRUE(bytes.has_value()) << key;
    std::vector<float> floats(bytes ? bytes->size() / sizeof(float) : 0);
    if (bytes) std::memcpy(floats.data(), bytes->data(), bytes->size());
    return floats;
  };
  EXPECT_EQ(floats_of("blk.0.attn_norm.weight"), std::vector<float>(96, 1.0f));
  EXPECT_EQ(floats_of("rotation.residual.signs").size(), 96u);
  EXPECT_EQ(floats_of("rotation.ffn_input.signs").size(), 80u);
  EXPECT_NE(floats_of("output_norm.weight"), std::vector<float>(96, 1.0f)) << "the head is tied";
  request_.recipe = "f32";
  EXPECT_EQ(must_compile(checkpoint).n_parameters, summary.n_parameters) << "signs are not trained";
}

TEST_F(CompileTest, ActivationsInFloatNeedNoRotationOfTheirOwn) {
  const MemoryCheckpoint checkpoint;
  request_.recipe = "q4_0+rotate";
  request_.activations = "a16";
  std::vector<std::string> names;
  request_.trace = [&](std::string_view pass, const std::string&) { names.emplace_back(pass); };
  must_compile(checkpoint);
  EXPECT_EQ(names[1], "rotate_residual");
  EXPECT_EQ(names[2], "fuse_rms_norm");
}

TEST_F(CompileTest, ReportsHowEachTensorWasMade) {
  const auto method_of = [&](const CompileSummary& summary, const std::string& name) {
    for (const TensorReport& tensor : summary.tensors) {
      if (tensor.name == name) return tensor.method;
    }
    return std::string("absent");
  };
  request_.recipe = "q4_0+fold";
  const CompileSummary summary = must_compile(MemoryCheckpoint());
  EXPECT_EQ(method_of(summary, "blk.0.attn_q.weight"), "nearest");
  EXPECT_EQ(method_of(summary, "blk.0.attn_norm.weight"), "");
  request_.recipe = "source";
  EXPECT_EQ(method_of(must_compile(MemoryCheckpoint()), "blk.0.attn_q.weight"), "floats");
}

class NoStatistics : public Statistics {
 public:
  Result<InputStatistics> input_of(std::string_view weight) const override {
    return not_found("{}", weight);
  }
  Result<Matrix> hessian_of(std::string_view weight) const override {
    return not_found("{}", weight);
  }
};

TEST_F(CompileTest, StatisticsAreGivenExactlyWhenTheRecipeUsesThem) {
  const MemoryCheckpoint checkpoint;
  request_.recipe = "q4_0+gptq";
  expect_error(checkpoint, ErrorCode::kInvalidArgument, "q4_0+gptq needs statistics");
  const NoStatistics statistics;
  request_.statistics = &statistics;
  request_.recipe = "q4_0";
  expect_error(checkpoint, ErrorCode::kInvalidArgument, "q4_0 has no use for --calibration");
}

// The same inputs for every linear: columns mix one source, so that errors can make up for each
// other, and a few are large.
class MixedInputs : public Statistics {
 public:
  MixedInputs(const MemoryCheckpoint& checkpoint, bool has_hessian)
      : checkpoint_(checkpoint), has_hessian_(has_hessian) {}

  Result<InputStatistics> input_of(std::string_view weight) const override {
    CRIA_ASSIGN_OR_RETURN(const Matrix hessian, hessian_of(weight));
    InputStatistics input{100, std::vector<float>(hessian.n_cols),
                          std::vector<float>(hessian.n_cols, 1.0f), has_hessian_};
    for (std::int64_t i = 0; i < hessian.n_cols; ++i) input.mean_square[i] = hessian.row(i)[i];
    return input;
  }
  Result<Matrix> hessian_of(std::string_view weight) const override {
    const std::string name(weight == "output.weight" ? "token_embd.weight" : weight);
    CRIA_ASSIGN_OR_RETURN(const StoredWeight* stored, checkpoint_.weight(name));
    Matrix hessian(stored->n_cols, stored->n_cols);
    const auto size = [](std::int64_t i) { return i % 8 == 0 ? 3.0f : 0.5f; };
    for (std::int64_t i = 0; i < hessian.n_rows; ++i) {
      for (std::int64_t j = 0; j < hessian.n_cols; ++j) {
        hessian.row(i)[j] = size(i) * size(j) * (i == j ? 1.0f : 0.8f);
      }
    }
    return hessian;
  }

 private:
  const MemoryCheckpoint& checkpoint_;
  bool has_hessian_;
};

double output_error_of(const CompileSummary& summary, std::string_view name) {
  for (const TensorReport& tensor : summary.tensors) {
    if (tensor.name == name) return tensor.output_error.value_or(-1);
  }
  return -2;
}

TEST_F(CompileTest, LinearsAreRoundedWithStatistics) {
  const MemoryCheckpoint checkpoint;
  const MixedInputs statistics(checkpoint, true);
  request_.statistics = &statistics;
  for (const char* recipe : {"q4_0+importance", "iq4_xs+gptq", "q4_0+gptq+importance"}) {
    request_.recipe = recipe;
    const CompileSummary summary = must_compile(checkpoint);
    for (const char* name : {"blk.0.attn_q.weight", "blk.0.ffn_down.weight"}) {
      const double error = output_error_of(summary, name);
      EXPECT_GT(error, 0) << recipe << ", " << name;
      EXPECT_LT(error, 0.05) << recipe << ", " << name;
    }
  }
}

TEST_F(CompileTest, GptqNeedsAHessian) {
  const MemoryCheckpoint checkpoint;
  const MixedInputs statistics(checkpoint, false);
  request_.statistics = &statistics;
  request_.recipe = "q4_0+gptq";
  expect_error(checkpoint, ErrorCode::kInvalidArgument, "needs the Hessian");
}

TEST_F(CompileTest, AnUnsupportedTargetSaysWhy) {
  const Result<CompileSummary> summary =
      compile_checkpoint(MemoryCheckpoint(), null_target(), request_);
  ASSERT_FALSE(summary.ok());
  EXPECT_EQ(summary.status().code(), ErrorCode::kUnsupported);
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(CompileTest, CancellingLeavesWhatWasThere) {
  const MemoryCheckpoint checkpoint;
  std::ofstream(request_.out_path) << "an older file";
  int n_calls = 0;
  request_.progress = [&](std::string_view step, std::uint64_t done, std::uint64_t total) {
    EXPECT_EQ(step, "quantize");
    EXPECT_LE(done, total);
    return ++n_calls < 5;
  };
  const Result<CompileSummary> summary = compile(checkpoint);
  ASSERT_FALSE(summary.ok());
  EXPECT_EQ(summary.status().code(), ErrorCode::kCancelled);
  EXPECT_EQ(n_calls, 5);
  EXPECT_EQ(file_bytes(), "an older file");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(CompileTest, ProgressEndsAtItsTotal) {
  std::uint64_t last = 0, total_bytes = 1;
  request_.progress = [&](std::string_view, std::uint64_t done, std::uint64_t total) {
    EXPECT_GE(done, last);
    last = done;
    total_bytes = total;
    return true;
  };
  const CompileSummary summary = must_compile(MemoryCheckpoint());
  EXPECT_EQ(last, total_bytes);
  EXPECT_EQ(total_bytes, summary.weight_bytes);
}

TEST_F(CompileTest, AFolderThatIsNotThereIsAnError) {
  request_.out_path = (folder_ / "missing" / "model.pte").string();
  expect_error(MemoryCheckpoint(), ErrorCode::kIo, "missing");
}

std::string shared_data() {
  const char* set = std::getenv("CRIA_SHARED_DATA");
  return set != nullptr ? set : CRIA_SOURCE_DIR "/../shared/data";
}

TEST_F(CompileTest, EveryGgufTypeIsCarriedWithoutLoss) {
  const fs::path folder = fs::path(shared_data()) / "gguf";
  if (!fs::exists(folder)) {
    GTEST_SKIP() << "SKIPPED: compiling GGUF files of every type, " << folder << " is absent";
  }
  int n_files = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".gguf") continue;
    SCOPED_TRACE(entry.path().string());
    const auto checkpoint = open_checkpoint(entry.path().string());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    request_.recipe = "source";
    must_compile(**checkpoint);
    expect_lossless(Opened(request_.out_path), **checkpoint);
    ++n_files;
  }
  EXPECT_GE(n_files, 15);
}

}  // namespace
}  // namespace cria
