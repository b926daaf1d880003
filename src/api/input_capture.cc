#include "api/input_capture.h"

#include <cstring>

#include "format/statistics/input_names.h"

namespace cria {

Result<std::unique_ptr<InputCapture>> InputCapture::create(
    const std::vector<LinearInputShape>& shapes, std::int64_t window_tokens,
    std::int64_t max_windows) {
  std::unique_ptr<InputCapture> capture(new InputCapture(window_tokens, max_windows));
  for (const LinearInputShape& shape : shapes) {
    Input input{.shape = shape};
    const std::int64_t n_values = max_windows * window_tokens * shape.n_cols;
    CRIA_ASSIGN_OR_RETURN(
        input.rows, AlignedBuffer::allocate(static_cast<std::size_t>(n_values) * sizeof(float)));
    capture->index_[shape.name] = capture->inputs_.size();
    capture->inputs_.push_back(std::move(input));
  }
  return capture;
}

std::uint64_t InputCapture::window_bytes(const std::vector<LinearInputShape>& shapes,
                                         std::int64_t window_tokens) {
  std::int64_t n_cols = 0;
  for (const LinearInputShape& shape : shapes) n_cols += shape.n_cols;
  return static_cast<std::uint64_t>(n_cols * window_tokens) * sizeof(float);
}

OnLinearInput InputCapture::callback() {
  return [this](const LinearInput& seen) {
    if (!status_.ok()) return;
    status_ = add(seen);
  };
}

Status InputCapture::add(const LinearInput& seen) {
  if (seen.weights.empty()) return internal_error("{}: rows without weights", seen.delegate);
  CRIA_ASSIGN_OR_RETURN(const std::string name, input_of_weight(seen.weights[0]));
  const auto found = index_.find(name);
  if (found == index_.end()) return internal_error("{} is no input of this model", name);
  Input& input = inputs_[found->second];
  const std::int64_t room = max_windows_ * window_tokens_ - input.n_rows;
  if (seen.n_cols != input.shape.n_cols || seen.n_rows > room) {
    return internal_error("{}: [{}, {}] values, there is room for [{}, {}]", name, seen.n_rows,
                          seen.n_cols, room, input.shape.n_cols);
  }
  std::memcpy(
      input.rows.data() + static_cast<std::size_t>(input.n_rows * seen.n_cols) * sizeof(float),
      seen.rows, static_cast<std::size_t>(seen.n_rows * seen.n_cols) * sizeof(float));
  input.n_rows += seen.n_rows;
  return {};
}

void InputCapture::clear() {
  n_windows_ = 0;
  for (Input& input : inputs_) input.n_rows = 0;
  status_ = Status();
}

Status InputCapture::end_window() {
  CRIA_RETURN_IF_ERROR(status_);
  ++n_windows_;
  for (const Input& input : inputs_) {
    if (input.n_rows == n_windows_ * window_tokens_) continue;
    return internal_error("{}: {} rows were seen after {} windows of {} tokens", input.shape.name,
                          input.n_rows, n_windows_, window_tokens_);
  }
  return {};
}

}  // namespace cria
