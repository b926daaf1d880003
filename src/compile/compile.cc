#include "compile/compile.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <optional>

#include "base/thread_pool.h"
#include "compile/convert_weight.h"
#include "compile/describe_program.h"
#include "compile/edited_model.h"
#include "compile/find_zeros.h"
#include "compile/fold_norms.h"
#include "compile/methods.h"
#include "compile/rotate_model.h"
#include "compile/round_weight.h"
#include "compile/scale_inputs.h"
#include "compile/strip_writer.h"
#include "format/pte/call_order.h"
#include "format/pte/llm_method.h"
#include "format/pte/program_builder.h"
#include "model/graph.h"
#include "quantize/recipe.h"

namespace cria {
namespace {

Result<KvType> find_kv_type(const std::string& name) {
  if (const std::optional<KvType> type = kv_type_from_name(name)) return *type;
  return invalid_argument("KV cache type '{}', expected f16 or q8_0", name);
}

// Converted weights held at a time: enough panels to keep every thread busy, small beside a model.
constexpr std::uint64_t kChunkBytes = std::uint64_t{8} << 20;

// One named datum of the program that is a weight.
struct PlannedWeight {
  TargetWeight target;
  const StoredWeight* stored = nullptr;      // of matrices
  WeightRounding rounding;                   // of matrices
  std::optional<WeightConverter> converter;  // of matrices that stream; others: round_weight
  RoundingLoss loss;                         // of matrices, once written
  std::vector<float> vector;                 // of vectors
  std::optional<KeptBlocks> kept;            // of matrices that are stored without zero blocks
  std::uint64_t size_bytes = 0;
};

std::string method_of(const PlannedWeight& weight) {
  const WeightRounding& rounding = weight.rounding;
  if (weight.converter && carries_codes(*weight.stored, rounding.encoding)) return "carried";
  if (encoding_spec(rounding.encoding).dense()) return "floats";
  std::string method = rounding.method == RoundingMethod::kGptq ? "gptq" : "nearest";
  if (!weight.converter && rounding.importance) method += "+importance";
  if (!weight.converter && rounding.clip && rounding.method == RoundingMethod::kNearest) {
    method += "+clip";
  }
  return method;
}

class Compilation {
 public:
  Compilation(const Checkpoint& checkpoint, const Target& target, const CompileRequest& request)
      : checkpoint_(checkpoint),
        target_(target),
        request_(request),
        pool_(request.n_threads > 0 ? request.n_threads : available_cores()),
        model_(checkpoint, request.statistics, pool_) {}

  Result<CompileSummary> run() {
    const auto start = std::chrono::steady_clock::now();
    CRIA_RETURN_IF_ERROR(check_request());
    CRIA_RETURN_IF_ERROR(transform_model());
    CRIA_RETURN_IF_ERROR(compile_graphs());
    CRIA_RETURN_IF_ERROR(plan_weights());
    CRIA_ASSIGN_OR_RETURN(const pte::ProgramSpec spec, program_spec());
    CRIA_ASSIGN_OR_RETURN(pte::PteWriter writer, pte::start_program(request_.out_path, spec));
    CRIA_RETURN_IF_ERROR(write_data(writer));
    summary_.file_bytes = writer.file_bytes();
    summary_.source_description = checkpoint_.description();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    summary_.seconds = elapsed.count();
    CRIA_RETURN_IF_ERROR(writer.finish(request_.check, request_.keep));
    return std::move(summary_);
  }

 private:
  Status check_request() {
    const std::int64_t most = checkpoint_.config().max_context;
    max_context_ = request_.max_context == 0 ? most : request_.max_context;
    if (max_context_ < 1 || max_context_ > most) {
      return invalid_argument("context of {} positions, expected 1 to {}", max_context_, most);
    }
    if (request_.prefill_chunk < 1 || request_.verify_chunk < 1) {
      return invalid_argument("chunks of {} and {} tokens, expected at least 1",
                              request_.prefill_chunk, request_.verify_chunk);
    }
    if (request_.activations != "a8" && request_.activations != "a16") {
      return invalid_argument("activations '{}', expected a8 or a16", request_.activations);
    }
    CRIA_ASSIGN_OR_RETURN(k_type_, find_kv_type(request_.cache_type_k));
    CRIA_ASSIGN_OR_RETURN(v_type_, find_kv_type(request_.cache_type_v));
    if (request_.own_recipe) {
      recipe_ = request_.own_recipe;
    } else {
      CRIA_ASSIGN_OR_RETURN(recipe_, Recipe::from_name(request_.recipe));
      recipe_->adapt(request_.statistics != nullptr,
                     [this](Encoding encoding) { return target_.supports(encoding).supported; });
    }
    return check_recipe();
  }

  Status check_recipe() const {
    const bool given = request_.statistics != nullptr;
    if (recipe_->uses_statistics() && !given) {
      return invalid_argument("recipe {} needs statistics of the inputs: --calibration STATS",
                              recipe_->name);
    }
    if (given && !recipe_->uses_statistics()) {
      return invalid_argument("recipe {} has no use for --calibration, expected one with {}",
                              recipe_->name, "+importance, +awq, +gptq or +quip");
    }
    return Status();
  }

  // What is exact: the weights' edits, and the passes of the graphs that belong to them.
  Status transform_model() {
    const ModelTransforms& transforms = recipe_->transforms;
    if (transforms.fold_norms && !transforms.rotate) CRIA_RETURN_IF_ERROR(fold_norms(model_));
    OnlineRotations online;
    online.ffn_input =
        transforms.rotate && (transforms.rotate_inputs || request_.activations == "a8");
    online.attn_input = transforms.rotate && transforms.rotate_inputs;
    if (transforms.rotate) {
      passes_.push_back({"rotate_residual", rotate_residual});
      if (online.ffn_input) passes_.push_back({"rotate_ffn_input", rotate_ffn_input});
      if (online.attn_input) passes_.push_back({"rotate_attn_input", rotate_attn_input});
      CRIA_RETURN_IF_ERROR(rotate_model(online, model_));
    }
    return transforms.awq ? scale_all_inputs(online.ffn_input) : Status();
  }

  Status scale_all_inputs(bool ffn_input_is_rotated) {
    ScalingRequest request;
    request.rounding_of = [this](const StoredWeight& stored) { return rounding_of(stored); };
    request.ffn_input_is_rotated = ffn_input_is_rotated;
    request.progress = [this](std::int64_t n_done, std::int64_t n_layers) -> Status {
      if (!request_.progress || request_.progress("awq", n_done, n_layers)) return Status();
      return cancelled("compiling to {} was cancelled", request_.out_path);
    };
    return scale_inputs(checkpoint_, request, model_);
  }

  Status compile_graphs() {
    const auto encoding_of = [this](const ir::Weight& weight) {
      return weight.n_rows == 1 ? Encoding::kF32 : matrix_encoding(weight.name);
    };
    MethodsRequest request;
    request.prefill_chunk = std::min(request_.prefill_chunk, max_context_);
    request.verify_chunk = std::min(request_.verify_chunk, max_context_);
    request.activations = request_.activations;
    request.k_type = k_type_;
    request.v_type = v_type_;
    request.max_context = max_context_;
    request.encoding_of = encoding_of;
    request.transforms = passes_;
    request.trace = request_.trace;
    CRIA_ASSIGN_OR_RETURN(program_, compile_methods(checkpoint_.config(), target_, request));
    // A cache has whole panels: the context is rounded up to them.
    const std::int64_t granularity = program_.methods[0].compiled.cache.granularity;
    max_context_ = (max_context_ + granularity - 1) / granularity * granularity;
    return Status();
  }

  WeightRounding rounding_of(const StoredWeight& stored) const {
    const auto takes = [this](Encoding encoding) { return target_.supports(encoding).supported; };
    return recipe_->rounding_for(stored.name, kept_encoding(stored, takes));
  }

  // What the recipe says, or the same weights in pairs. Methods ask for the same matrices again.
  Encoding matrix_encoding(const std::string& name) {
    const auto known = encodings_.find(name);
    if (known != encodings_.end()) return known->second;
    // A weight that is missing is reported when it is looked up below.
    const Result<const StoredWeight*> stored = checkpoint_.weight(name);
    if (!stored.ok()) return Encoding::kF32;
    const WeightRounding rounding = rounding_of(**stored);
    Encoding encoding = rounding.encoding;
    if (leaves_zeros_out() && pairs_encoding(encoding) != encoding &&
        !carries_codes(**stored, encoding) && !needs_rounding(model_, **stored, rounding) &&
        check_stored(**stored).ok() && has_two_in_four(pool_, **stored)) {
      encoding = pairs_encoding(encoding);
    }
    encodings_.emplace(name, encoding);
    return encoding;
  }

  bool leaves_zeros_out() const { return request_.sparse && target_.takes_sparse(); }

  // Without its zero blocks, if that makes the matrix smaller.
  void drop_zeros(PlannedWeight& weight) {
    const Encoding encoding = weight.target.encoding;
    if (!leaves_zeros_out() || !can_drop_zero_blocks(encoding, weight.target.n_cols)) return;
    KeptBlocks kept = find_kept_blocks(pool_, *weight.stored);
    const std::size_t size_bytes = zero_blocks_bytes(encoding, kept);
    if (size_bytes >= weight.size_bytes) return;
    weight.size_bytes = size_bytes;
    weight.kept = std::move(kept);
  }

  Status plan_weights() {
    double matrix_bits = 0, matrix_elements = 0;
    for (const TargetWeight& target : program_.weights) {
      CRIA_ASSIGN_OR_RETURN(PlannedWeight weight, plan_weight(target));
      summary_.weight_bytes += weight.size_bytes;
      if (checkpoint_.weight(target.name).ok()) {
        summary_.n_parameters += target.n_rows * target.n_cols;
      }
      if (target.packed) {
        matrix_bits += 8.0 * static_cast<double>(weight.size_bytes);
        matrix_elements += static_cast<double>(target.n_rows) * static_cast<double>(target.n_cols);
      }
      weights_.push_back(std::move(weight));
    }
    if (matrix_elements > 0) summary_.bits_per_weight = matrix_bits / matrix_elements;
    return Status();
  }

  Result<PlannedWeight> plan_weight(const TargetWeight& target) {
    PlannedWeight weight;
    weight.target = target;
    if (target.name == kRopeFrequencies) {
      weight.vector = checkpoint_.config().rope_inverse_frequencies;
      weight.size_bytes = weight.vector.size() * sizeof(float);
      return weight;
    }
    if (!target.packed) return plan_vector(std::move(weight));
    CRIA_ASSIGN_OR_RETURN(weight.stored, checkpoint_.weight(target.name));
    if (weight.stored->n_rows != target.n_rows || weight.stored->n_cols != target.n_cols) {
      return bad_input("{}: {} x {}, expected {} x {}", weight.stored->file_name,
                       weight.stored->n_rows, weight.stored->n_cols, target.n_rows, target.n_cols);
    }
    weight.rounding = rounding_of(*weight.stored);
    if (needs_rounding(model_, *weight.stored, weight.rounding)) {
      CRIA_RETURN_IF_ERROR(check_rounding(model_, *weight.stored, weight.rounding));
    } else {
      CRIA_ASSIGN_OR_RETURN(weight.converter,
                            WeightConverter::create(*weight.stored, target.encoding));
    }
    const std::optional<std::size_t> size_bytes =
        packed_size_bytes(target.encoding, target.n_rows, target.n_cols);
    if (!size_bytes) return bad_input("{}: too large", weight.stored->file_name);
    weight.size_bytes = *size_bytes;
    if (weight.converter) drop_zeros(weight);
    checkpoint_.forget(*weight.stored);
    return weight;
  }

  Result<PlannedWeight> plan_vector(PlannedWeight weight) const {
    const TargetWeight& target = weight.target;
    CRIA_ASSIGN_OR_RETURN(weight.vector, model_.vector(target.name));
    if (static_cast<std::int64_t>(weight.vector.size()) != target.n_cols) {
      return bad_input("{}: {} elements, expected {}", target.name, weight.vector.size(),
                       target.n_cols);
    }
    weight.size_bytes = weight.vector.size() * sizeof(float);
    return weight;
  }

  Result<pte::ProgramSpec> program_spec() {
    const ProgramFacts facts{
        checkpoint_,          request_, target_, program_, max_context_, summary_.n_parameters,
        summary_.weight_bytes};
    pte::ProgramSpec spec;
    for (const ProgramMethod& method : program_.methods) {
      CRIA_ASSIGN_OR_RETURN(pte::MethodSpec method_spec, spec_of(method));
      spec.methods.push_back(std::move(method_spec));
    }
    spec.constants = constant_methods(facts);
    metadata_ = program_metadata(facts);
    spec.named_data.push_back({"metadata", metadata_.size()});
    if (!request_.tokenizer.empty()) {
      spec.named_data.push_back({"tokenizer", request_.tokenizer.size()});
    }
    for (const PlannedWeight& weight : weights_) {
      spec.named_data.push_back({weight.target.key, weight.size_bytes});
    }
    return spec;
  }

  Result<pte::MethodSpec> spec_of(const ProgramMethod& method) const {
    const CompiledMethod& compiled = method.compiled;
    pte::LlmMethodShape shape;
    shape.max_tokens = method.max_tokens;
    shape.n_positions = max_context_;
    shape.bytes_per_position = compiled.cache.bytes_per_position;
    shape.scratch_bytes = compiled.scratch_bytes;
    shape.n_vocab = compiled.n_vocab;
    shape.all_rows = method.all_rows;
    pte::MethodSpec spec;
    spec.name = method.name;
    CRIA_ASSIGN_OR_RETURN(spec.arguments, pte::llm_arguments(shape));
    spec.delegate_id = compiled.delegate_id;
    spec.blob = compiled.blob;
    const auto texts = [](const auto& pairs) {
      std::vector<pte::CompileSpec> specs;
      for (const auto& [key, value] : pairs) specs.push_back(pte::text_spec(key, value));
      return specs;
    };
    spec.compile_specs = texts(compiled.compile_specs);
    if (!compiled.then.empty()) spec.compile_specs.push_back(pte::call_order_spec({}));
    for (const CompiledPart& part : compiled.then) {
      spec.then.push_back({part.delegate_id, part.blob, texts(part.compile_specs)});
      spec.then.back().compile_specs.push_back(pte::call_order_spec(part.after));
    }
    return spec;
  }

  // The named data in the order of the spec.
  Status write_data(pte::PteWriter& writer) {
    std::size_t named = 0;
    const auto next_segment = [&] { return writer.program().named_data[named++].segment_index; };
    CRIA_RETURN_IF_ERROR(writer.append(next_segment(), std::as_bytes(std::span(metadata_))));
    if (!request_.tokenizer.empty()) {
      CRIA_RETURN_IF_ERROR(writer.append(next_segment(), request_.tokenizer));
    }
    CRIA_RETURN_IF_ERROR(report_progress(0));
    for (PlannedWeight& weight : weights_) {
      const std::uint32_t segment = next_segment();
      if (weight.stored != nullptr) {
        CRIA_RETURN_IF_ERROR(write_matrix(writer, segment, weight));
      } else {
        CRIA_RETURN_IF_ERROR(writer.append(segment, std::as_bytes(std::span(weight.vector))));
        CRIA_RETURN_IF_ERROR(report_progress(weight.size_bytes));
      }
      add_report(weight);
    }
    return Status();
  }

  Status write_matrix(pte::PteWriter& writer, std::uint32_t segment, PlannedWeight& weight) {
    StripWriter strips(weight.target.tiles, weight.target.encoding, weight.target.n_cols,
                       [&](std::span<const std::byte> bytes) -> Status {
                         CRIA_RETURN_IF_ERROR(writer.append(segment, bytes));
                         return report_progress(bytes.size());
                       });
    const auto write_panels = [&](std::span<const std::byte> panels) { return strips.add(panels); };
    if (weight.converter) {
      CRIA_RETURN_IF_ERROR(convert_matrix(weight, write_panels));
    } else {
      CRIA_ASSIGN_OR_RETURN(weight.loss,
                            round_weight(model_, *weight.stored, weight.rounding, write_panels));
    }
    checkpoint_.forget(*weight.stored);
    return strips.finish();
  }

  Status convert_matrix(PlannedWeight& weight, const PanelSink& write_panels) {
    WeightConverter& converter = *weight.converter;
    const auto panels_a_chunk = static_cast<std::int64_t>(
        std::max<std::uint64_t>(1, kChunkBytes / converter.panel_bytes()));
    if (weight.kept) {
      CRIA_RETURN_IF_ERROR(write_panels(zero_blocks_index(weight.target.encoding, *weight.kept)));
    }
    for (std::int64_t first = 0; first < converter.n_panels(); first += panels_a_chunk) {
      const std::int64_t n = std::min(panels_a_chunk, converter.n_panels() - first);
      chunk_.resize(n * converter.panel_bytes());
      CRIA_RETURN_IF_ERROR(converter.convert(pool_, first, chunk_));
      if (weight.kept) drop_zeros_of_chunk(weight, first);
      CRIA_RETURN_IF_ERROR(write_panels(chunk_));
    }
    weight.loss.error = converter.error();
    return Status();
  }

  void drop_zeros_of_chunk(const PlannedWeight& weight, std::int64_t first_panel) {
    const std::size_t panel_bytes = weight.converter->panel_bytes();
    std::vector<std::byte> kept;
    for (std::size_t i = 0; i * panel_bytes < chunk_.size(); ++i) {
      const auto groups = weight.kept->of_panel(first_panel + static_cast<std::int64_t>(i));
      drop_zero_blocks(weight.target.encoding,
                       std::span(chunk_).subspan(i * panel_bytes, panel_bytes), groups, kept);
    }
    chunk_ = std::move(kept);
  }

  Status report_progress(std::uint64_t more_bytes) {
    written_bytes_ += more_bytes;
    if (!request_.progress) return Status();
    if (request_.progress("quantize", written_bytes_, summary_.weight_bytes)) return Status();
    return cancelled("compiling to {} was cancelled", request_.out_path);
  }

  void add_report(const PlannedWeight& weight) {
    TensorReport report;
    report.name = weight.target.name;
    report.encoding = weight.target.encoding;
    report.n_rows = weight.target.n_rows;
    report.n_cols = weight.target.n_cols;
    report.size_bytes = weight.size_bytes;
    if (weight.stored != nullptr) {
      report.relative_mse = weight.loss.error.relative_mse();
      report.largest_error = weight.loss.error.largest;
      report.method = method_of(weight);
      report.output_error = weight.loss.output_error;
      const StoredWeight& stored = *weight.stored;
      if (stored.source && recipe_->keep_source && report.encoding == stored.native_encoding()) {
        report.note = stored.source->why_inexact();
      }
    }
    summary_.tensors.push_back(std::move(report));
  }

  const Checkpoint& checkpoint_;
  const Target& target_;
  const CompileRequest& request_;
  ThreadPool pool_;
  EditedModel model_;
  std::vector<Pass> passes_;  // of the graphs, for the edits of the weights
  std::optional<Recipe> recipe_;
  std::int64_t max_context_ = 0;
  KvType k_type_ = KvType::kF16;
  KvType v_type_ = KvType::kF16;
  ProgramMethods program_;
  std::map<std::string, Encoding> encodings_;  // of matrices
  std::vector<PlannedWeight> weights_;
  std::string metadata_;
  std::vector<std::byte> chunk_;
  std::uint64_t written_bytes_ = 0;
  CompileSummary summary_;
};

}  // namespace

Result<CompileSummary> compile_checkpoint(const Checkpoint& checkpoint, const Target& target,
                                          const CompileRequest& request) {
  return Compilation(checkpoint, target, request).run();
}

}  // namespace cria
