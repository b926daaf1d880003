#include "api/npu_changes.h"

#include <array>

#include "api/npu_placement.h"

namespace cria {
namespace {

constexpr std::array kShapeEncodings = {"q4c", "q4",    "q4g64",  "q4g128", "q8c",
                                        "q8",  "q8g64", "q8g128", "f16"};
constexpr std::array kRecipes = {"source", "q4", "q8", "f16"};
constexpr std::array<std::int64_t, 5> kChunks = {16, 32, 64, 128, 256};

void set_figures(double prefill_seconds, std::int64_t n_prompt, const NpuCallTimes& decode,
                 NpuChange& change) {
  change.prefill_tokens_per_second = static_cast<double>(n_prompt) / prefill_seconds;
  change.decode_tokens_per_second = 1 / decode.seconds;
  change.joules_per_token = decode.joules();
  change.weight_bytes = static_cast<double>(decode.work.bytes.weights);
}

// All on the NPU.
Status add_figures(const NpuModel& model, std::int64_t n_prompt, NpuChange& change) {
  CRIA_ASSIGN_OR_RETURN(const NpuCallTimes prefill,
                        time_npu_call(model, model.plans.prefill, model.calls.prefill));
  CRIA_ASSIGN_OR_RETURN(const NpuCallTimes decode,
                        time_npu_call(model, model.plans.decode, model.calls.decode));
  set_figures(static_cast<double>(model.calls.n_prefill) * prefill.seconds, n_prompt, decode,
              change);
  return {};
}

class Changes {
 public:
  Changes(const NpuModel& model, const NpuModelOptions& options)
      : model_(model), options_(options) {}

  std::vector<NpuChange> all() {
    add("", "", [&](NpuChange& change) { return add_figures(model_, options_.n_prompt, change); });
    add_encodings();
    add_activations();
    add_caches();
    add_chunks();
    add_placements();
    return std::move(list_);
  }

 private:
  template <typename Figures>
  void add(const char* what, std::string text, const Figures& figures) {
    NpuChange change;
    change.what = what;
    change.change = std::move(text);
    const Status status = figures(change);
    if (!status.ok()) change.refused = status.message();
    list_.push_back(std::move(change));
  }

  void add_opened(const char* what, std::string text, const NpuModelOptions& options) {
    add(what, std::move(text), [&](NpuChange& change) -> Status {
      CRIA_ASSIGN_OR_RETURN(const NpuModel model, open_npu_model(options));
      return add_figures(model, options.n_prompt, change);
    });
  }

  template <std::size_t N>
  void add_quants(const std::array<const char*, N>& names, const char* usual) {
    for (const char* name : names) {
      if (name == (options_.quant.empty() ? std::string(usual) : options_.quant)) continue;
      NpuModelOptions options = options_;
      options.quant = name;
      add_opened("encoding", fmt::format("--quant {}", name), options);
    }
  }

  void add_encodings() {
    if (model_.plans.origin == ModelPlans::Origin::kShape) add_quants(kShapeEncodings, "q4c");
    if (model_.plans.origin == ModelPlans::Origin::kCheckpoint) add_quants(kRecipes, "source");
  }

  void add_activations() {
    NpuModelOptions options = options_;
    options.activations = options_.activations == "a8" ? "a16" : "a8";
    add_opened("activations", "--act " + options.activations, options);
  }

  void add_caches() {
    if (model_.plans.origin == ModelPlans::Origin::kProgram) return;
    NpuModelOptions options = options_;
    const bool narrow = model_.plans.decode.kv.k_type == KvType::kQ8;
    options.cache_type_k = options.cache_type_v = narrow ? "f16" : "q8_0";
    add_opened("cache", fmt::format("-ctk {0} -ctv {0}", options.cache_type_k), options);
  }

  void add_chunks() {
    if (model_.plans.origin == ModelPlans::Origin::kProgram) return;
    for (const std::int64_t chunk : kChunks) {
      if (chunk > options_.n_prompt || chunk == model_.plans.prefill.max_tokens) continue;
      NpuModelOptions options = options_;
      options.prefill_chunk = chunk;
      add_opened("chunk", fmt::format("--prefill-chunk {}", chunk), options);
    }
  }

  // As the search finds best, then some ops on the processor and all others on the NPU.
  void add_placements() {
    const Result<PlaceProblem> problem = pose_npu_placement(model_, options_);
    if (!problem.ok()) return;
    add_placement("as cria plan finds best", *problem);
    for (const char* name : {"attention", "rms_norm", "logits"}) {
      PlaceProblem pinned = *problem;
      pinned.pins.emplace_back(name, PlaceDevice::kCpu);
      pinned.rest_on_npu = true;
      add_placement(fmt::format("{} on the CPU", name), pinned);
    }
  }

  void add_placement(std::string text, const PlaceProblem& problem) {
    add("placement", std::move(text), [&](NpuChange& change) -> Status {
      CRIA_ASSIGN_OR_RETURN(const PlacedModel placed, place_npu_model(model_, problem));
      set_figures(problem.n_prefill_calls * placed.prefill.seconds, options_.n_prompt,
                  placed.decode, change);
      return {};
    });
  }

  const NpuModel& model_;
  const NpuModelOptions& options_;
  std::vector<NpuChange> list_;
};

}  // namespace

std::vector<NpuChange> try_npu_changes(const NpuModel& model, const NpuModelOptions& options) {
  return Changes(model, options).all();
}

}  // namespace cria
