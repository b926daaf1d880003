// What is measured from the middle of a model on is what the whole model says, bit for bit.
#include "api/sensitivity.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <random>

#include "api/delegates.h"
#include "api/model_tail.h"
#include "compile/compile.h"
#include "compile/memory_checkpoint.h"
#include "cria/evaluate.h"
#include "llm/program_model.h"
#include "targets/cpu/cpu_target.h"
#include "tensor/packing.h"

namespace cria {
namespace {

constexpr std::int64_t kWindowTokens = 40;
constexpr std::int64_t kChunk = 16;  // 16, 16 and 8 tokens

class SensitivityTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / fmt::format("cria_sensitivity_{}", getpid());
    std::filesystem::create_directory(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string path(const char* name) const { return (folder_ / name).string(); }

  CompileSummary compile(const Checkpoint& checkpoint, const char* name, const char* recipe) {
    CompileRequest request;
    request.out_path = path(name);
    request.recipe = recipe;
    request.verify_chunk = kChunk;
    request.activations = "a16";
    request.sparse = false;
    Result<CompileSummary> summary = compile_checkpoint(checkpoint, cpu_target(), request);
    EXPECT_TRUE(summary.ok()) << summary.status().message();
    return summary.ok() ? *std::move(summary) : CompileSummary();
  }

  void make_request(const Checkpoint& checkpoint, Encoding dense, const char* recipe) {
    compile(checkpoint, "dense.pte", recipe);
    for (const TensorReport& t : compile(checkpoint, "probe.pte", "q4").tensors) {
      if (t.n_rows > 1)
        request_.matrices.push_back({t.name, t.n_rows, t.n_cols, dense, t.encoding});
    }
    ASSERT_FALSE(request_.matrices.empty());
    // In no order of the model's.
    std::mt19937 random(5);
    std::ranges::shuffle(request_.matrices, random);
    request_.program = *Program::load_for_edits(path("dense.pte"));
    request_.probe = *Program::load(path("probe.pte"));
    std::uniform_int_distribution<std::int32_t> id(
        0, static_cast<std::int32_t>(checkpoint.config().n_vocab) - 1);
    for (auto& window : request_.windows = std::vector<std::vector<std::int32_t>>(2)) {
      for (std::int64_t i = 0; i < kWindowTokens; ++i) window.push_back(id(random));
    }
    request_.n_threads = 2;
  }

  // The rounded matrix in a program of its own.
  std::shared_ptr<Program> program_with(const ProbedMatrix& m) {
    std::shared_ptr<Program> program = *Program::load_for_edits(path("dense.pte"));
    const std::span<const std::byte> rounded = *request_.probe->named_data(m.name);
    const std::span<std::byte> dense = *program->edit_named_data(m.name);
    const std::size_t panel_bytes = panel_layout(m.dense, m.n_cols).size_bytes;
    for (std::int64_t first = 0; first < m.n_rows; first += kPanelRows) {
      const std::int64_t n = std::min<std::int64_t>(kPanelRows, m.n_rows - first);
      std::vector<float> rows(static_cast<std::size_t>(n * m.n_cols));
      for (std::int64_t r = 0; r < n; ++r) {
        decode_packed_row(m.rounded, rounded, m.n_cols, first + r,
                          std::span(rows).subspan(r * m.n_cols, m.n_cols));
      }
      pack_dense_panel(m.dense, rows, m.n_cols,
                       dense.subspan(first / kPanelRows * panel_bytes, panel_bytes));
    }
    return program;
  }

  // All of the model, window after window.
  std::vector<float> logits_of(std::shared_ptr<const Program> program) {
    const auto model = *ProgramModel::create(std::move(program), builtin_delegates(), {});
    const std::int64_t n_vocab = model->info().n_vocab;
    KvCache cache = *KvCache::allocate(*kv_cache_bytes(model->info(), kWindowTokens));
    std::vector<float> logits(request_.windows.size() * kWindowTokens * n_vocab);
    const std::size_t n_window = kWindowTokens * n_vocab;
    for (std::size_t w = 0; w < request_.windows.size(); ++w) {
      cache.reset();
      EXPECT_TRUE(model
                      ->forward(request_.windows[w], cache, LogitRows::kAll,
                                std::span(logits).subspan(w * n_window, n_window))
                      .ok());
    }
    return logits;
  }

  void expect_what_the_whole_model_says() {
    const std::vector<float> reference = logits_of(*Program::load(path("dense.pte")));
    const std::size_t n = request_.windows.size() * kWindowTokens;
    const std::size_t n_vocab = reference.size() / n;
    const Result<std::vector<double>> measured = measure_sensitivities(request_);
    ASSERT_TRUE(measured.ok()) << measured.status().message();
    ASSERT_EQ(measured->size(), request_.matrices.size());
    for (std::size_t m = 0; m < request_.matrices.size(); ++m) {
      const std::vector<float> logits = logits_of(program_with(request_.matrices[m]));
      double sum = 0;
      for (std::size_t i = 0; i < n; ++i) {
        sum += kl_divergence(reference.data() + i * n_vocab, logits.data() + i * n_vocab,
                             static_cast<std::int64_t>(n_vocab));
      }
      EXPECT_EQ((*measured)[m], sum / static_cast<double>(n)) << request_.matrices[m].name;
      EXPECT_GT((*measured)[m], 0) << request_.matrices[m].name;
    }
    // The program is as it was.
    EXPECT_EQ(logits_of(request_.program), reference);
  }

  std::filesystem::path folder_;
  SensitivityRequest request_;
};

TEST_F(SensitivityTest, OfTheModelThatShips) {
  const auto checkpoint = open_checkpoint(CRIA_SOURCE_DIR "/models/cria-tiny");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  make_request(**checkpoint, Encoding::kBF16, "bf16");
  expect_what_the_whole_model_says();
}

TEST_F(SensitivityTest, OfAModelWithAHeadOfItsOwn) {
  make_request(MemoryCheckpoint(StorageType::kF32, false), Encoding::kF32, "f32");
  expect_what_the_whole_model_says();
}

TEST_F(SensitivityTest, StartsLateAndOnlyGoesForward) {
  make_request(MemoryCheckpoint(StorageType::kF32, false), Encoding::kF32, "f32");
  ThreadPool pool(1);
  const auto tail = *ModelTail::create(request_.program, request_.windows, pool);
  EXPECT_EQ(*tail->start_for("token_embd.weight"), 0u);
  // Values go into the cache behind queries, keys and values; each of the others stands by itself.
  const char* in_order[] = {"blk.0.attn_q.weight", "blk.0.attn_output.weight",
                            "blk.0.ffn_up.weight", "blk.0.ffn_down.weight",
                            "blk.1.attn_v.weight", "blk.1.ffn_gate.weight",
                            "output.weight"};
  std::size_t last = 0;
  for (const char* name : in_order) {
    const std::size_t start = *tail->start_for(name);
    EXPECT_GT(start, last) << name;
    last = start;
  }
  EXPECT_EQ(*tail->start_for("blk.1.attn_q.weight"), *tail->start_for("blk.1.attn_v.weight"));
  EXPECT_EQ(tail->start_for("nobody").status().code(), ErrorCode::kInternal);
}

TEST_F(SensitivityTest, WindowsBehindTheContextAreRefused) {
  make_request(MemoryCheckpoint(), Encoding::kF32, "f32");
  request_.windows = {std::vector<std::int32_t>(129, 1)};
  EXPECT_EQ(measure_sensitivities(request_).status().code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace cria
