#include "compile/round_weight.h"

#include <algorithm>
#include <vector>

#include "compile/convert_weight.h"
#include "quantize/rounding.h"
#include "tensor/packing.h"

namespace cria {
namespace {

// Weights held as floats at a time: all of every linear of 1B and 3B, a part of an embedding.
constexpr std::int64_t kChunkWeights = std::int64_t{1} << 25;
// Panels packed before they are written.
constexpr std::int64_t kPanelsAtATime = 64;

bool uses_statistics(const WeightRounding& rounding) {
  return rounding.importance || rounding.clip || rounding.method == RoundingMethod::kGptq;
}

class Rounding {
 public:
  Rounding(const EditedModel& model, const StoredWeight& stored, const WeightRounding& rounding,
           const PanelSink& sink)
      : model_(model),
        stored_(stored),
        rounding_(rounding),
        sink_(sink),
        panel_bytes_(panel_layout(rounding.encoding, stored.n_cols).size_bytes) {}

  Result<RoundingLoss> run() {
    CRIA_RETURN_IF_ERROR(load_statistics());
    const std::int64_t unit =
        std::max<std::int64_t>(kPanelRows, row_granularity(model_.edits_of(stored_.name)));
    const std::int64_t step =
        std::max(unit, kChunkWeights / stored_.n_cols / unit * unit);  // both powers of two
    for (std::int64_t first = 0; first < stored_.n_rows; first += step) {
      const std::int64_t n = std::min(step, stored_.n_rows - first);
      CRIA_ASSIGN_OR_RETURN(const Matrix rows, model_.rows(stored_, first, n));
      const bool dense = encoding_spec(rounding_.encoding).dense();
      if (dense) {
        CRIA_RETURN_IF_ERROR(write_floats(rows, first));
      } else {
        CRIA_RETURN_IF_ERROR(with_statistics_ ? write_weighed_codes(rows, first)
                                              : write_codes(rows, first));
      }
    }
    if (output_sum_ > 0) loss_.output_error = output_error_ / output_sum_;
    return loss_;
  }

 private:
  // The factor of the Hessian is made once for all rows; the Hessian itself is not kept.
  Status load_statistics() {
    with_statistics_ = !encoding_spec(rounding_.encoding).dense() && uses_statistics(rounding_) &&
                       model_.has_input(stored_.name);
    if (!with_statistics_) return Status();
    if (rounding_.importance) {
      CRIA_ASSIGN_OR_RETURN(const InputStatistics input, model_.input_of(stored_));
      importance_ = input.mean_square;
    }
    if (rounding_.method != RoundingMethod::kGptq) {
      return rounding_.clip ? load_moments() : Status();
    }
    CRIA_ASSIGN_OR_RETURN(const Matrix hessian, model_.hessian_of(stored_));
    Result<HessianFactor> factor = HessianFactor::create(
        hessian, RoundingRequest{}.damping, rounding_order(rounding_.encoding), model_.pool());
    if (!factor.ok()) return std::move(factor).status().with_context(stored_.file_name);
    factor_ = std::move(*factor);
    return Status();
  }

  Status load_moments() {
    CRIA_ASSIGN_OR_RETURN(const InputStatistics input, model_.input_of(stored_));
    if (!input.has_hessian) {
      moments_.emplace(input.mean_square);
      return Status();
    }
    CRIA_ASSIGN_OR_RETURN(hessian_, model_.hessian_of(stored_));
    moments_.emplace(*hessian_, encoding_spec(rounding_.encoding).block);
    return Status();
  }

  Status write_weighed_codes(const Matrix& rows, std::int64_t first) {
    RoundingRequest request;
    request.method = rounding_.method;
    request.encoding = rounding_.encoding;
    request.importance = importance_;
    request.factor = factor_ ? &*factor_ : nullptr;
    request.hessian = hessian_ ? &*hessian_ : nullptr;
    request.clip = moments_ ? &*moments_ : nullptr;
    Result<RoundedMatrix> rounded = round_matrix(rows, request, model_.pool());
    if (!rounded.ok()) {
      return std::move(rounded).status().with_context(
          fmt::format("{}, from row {}", stored_.file_name, first));
    }
    loss_.error.add(rounded->error);
    output_error_ += rounded->output_error;
    output_sum_ += rounded->output_sum;
    return write_rows(rounded->rows);
  }

  Status write_codes(const Matrix& rows, std::int64_t first) {
    std::vector<RowCodes> codes(static_cast<std::size_t>(rows.n_rows),
                                RowCodes(rounding_.encoding, rows.n_cols));
    std::vector<QuantizeError> errors(codes.size());
    std::vector<Status> statuses(codes.size());
    model_.pool().parallel_for(rows.n_rows, [&](std::int64_t r, int) {
      Result<QuantizeError> error = quantize_row(rows.row(r), codes[r]);
      if (error.ok()) {
        errors[r] = *error;
      } else {
        statuses[r] = std::move(error).status().with_context(
            fmt::format("{}, row {}", stored_.file_name, first + r));
      }
    });
    for (Status& status : statuses) CRIA_RETURN_IF_ERROR(std::move(status));
    for (const QuantizeError& error : errors) loss_.error.add(error);
    return write_rows(codes);
  }

  Status write_rows(std::span<const RowCodes> codes) {
    return write_panels(static_cast<std::int64_t>(codes.size()),
                        [&](std::int64_t row, std::int64_t n, auto panel) {
                          pack_panel(codes.subspan(row, n), panel);
                          return Status();
                        });
  }

  Status write_floats(const Matrix& rows, std::int64_t first) {
    std::vector<QuantizeError> errors((rows.n_rows + kPanelRows - 1) / kPanelRows);
    CRIA_RETURN_IF_ERROR(
        write_panels(rows.n_rows, [&](std::int64_t row, std::int64_t n, auto panel) {
          const auto floats = std::span(rows.values).subspan(row * rows.n_cols, n * rows.n_cols);
          CRIA_RETURN_IF_ERROR(measure_dense_rows(stored_, rounding_.encoding, floats, first + row,
                                                  errors[row / kPanelRows]));
          pack_dense_panel(rounding_.encoding, floats, rows.n_cols, panel);
          return Status();
        }));
    for (const QuantizeError& error : errors) loss_.error.add(error);
    return Status();
  }

  // pack(first row, rows, panel) for each panel, some at a time.
  template <typename Pack>
  Status write_panels(std::int64_t n_rows, const Pack& pack) {
    const std::int64_t n_panels = (n_rows + kPanelRows - 1) / kPanelRows;
    for (std::int64_t first = 0; first < n_panels; first += kPanelsAtATime) {
      const std::int64_t n = std::min(kPanelsAtATime, n_panels - first);
      panels_.resize(n * panel_bytes_);
      std::vector<Status> statuses(static_cast<std::size_t>(n));
      model_.pool().parallel_for(n, [&](std::int64_t i, int) {
        const std::int64_t row = (first + i) * kPanelRows;
        statuses[i] = pack(row, std::min<std::int64_t>(kPanelRows, n_rows - row),
                           std::span(panels_).subspan(i * panel_bytes_, panel_bytes_));
      });
      for (Status& status : statuses) CRIA_RETURN_IF_ERROR(std::move(status));
      CRIA_RETURN_IF_ERROR(sink_(panels_));
    }
    return Status();
  }

  const EditedModel& model_;
  const StoredWeight& stored_;
  const WeightRounding& rounding_;
  const PanelSink& sink_;
  std::size_t panel_bytes_;
  std::vector<std::byte> panels_;
  RoundingLoss loss_;
  bool with_statistics_ = false;
  std::vector<float> importance_;
  std::optional<HessianFactor> factor_;
  std::optional<BlockMoments> moments_;
  std::optional<Matrix> hessian_;  // what errors amount to, where moments_ are of it
  double output_error_ = 0, output_sum_ = 0;
};

}  // namespace

bool needs_rounding(const EditedModel& model, const StoredWeight& stored,
                    const WeightRounding& rounding) {
  if (!model.edits_of(stored.name).empty()) return true;
  return uses_statistics(rounding) && model.has_input(stored.name) &&
         !carries_codes(stored, rounding.encoding);
}

Status check_rounding(const EditedModel& model, const StoredWeight& stored,
                      const WeightRounding& rounding) {
  CRIA_RETURN_IF_ERROR(check_stored(stored));
  const EncodingSpec spec = encoding_spec(rounding.encoding);
  if (!spec.dense() && !can_quantize(rounding.encoding)) {
    return unsupported("{}: {} cannot be made from floats", stored.file_name, spec.name);
  }
  if (spec.dense() || !uses_statistics(rounding) || !model.has_input(stored.name)) return Status();
  CRIA_ASSIGN_OR_RETURN(const InputStatistics input, model.input_of(stored));
  if (rounding.method == RoundingMethod::kGptq && !input.has_hessian) {
    return invalid_argument("{}: gptq needs the Hessian of its input, the statistics have none",
                            stored.name);
  }
  return Status();
}

Result<RoundingLoss> round_weight(const EditedModel& model, const StoredWeight& stored,
                                  const WeightRounding& rounding, const PanelSink& sink) {
  return Rounding(model, stored, rounding, sink).run();
}

}  // namespace cria
