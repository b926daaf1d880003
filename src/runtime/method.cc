#include "runtime/method.h"

#include <algorithm>
#include <optional>

namespace cria {
namespace {

// Bytes of a tensor at sizes that are each within the spec's, so that nothing overflows; nullopt
// if they are not.
std::optional<std::uint64_t> bytes_within(const cria_tensor& tensor, const TensorSpec& spec) {
  if (tensor.dtype != spec.dtype || tensor.rank != static_cast<std::int32_t>(spec.sizes.size())) {
    return std::nullopt;
  }
  std::uint64_t bytes = spec.element_bytes;
  for (std::size_t i = 0; i < spec.sizes.size(); ++i) {
    const bool fits = spec.dynamic ? tensor.sizes[i] >= 0 && tensor.sizes[i] <= spec.sizes[i]
                                   : tensor.sizes[i] == spec.sizes[i];
    if (!fits) return std::nullopt;
    bytes *= static_cast<std::uint64_t>(tensor.sizes[i]);
  }
  return bytes;
}

std::string shape_text(std::int32_t dtype, std::span<const std::int64_t> sizes) {
  std::string text = fmt::format("dtype {} [", dtype);
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : ", ", sizes[i]);
  }
  return text + "]";
}

Status check_argument(const cria_tensor& tensor, const TensorSpec& spec, const char* kind,
                      std::size_t index) {
  if (tensor.data != nullptr && bytes_within(tensor, spec) == tensor.size_bytes) return {};
  const auto rank = static_cast<std::size_t>(std::clamp(tensor.rank, 0, 8));
  return invalid_argument("{} {} is {} of {} bytes, expected {}{}", kind, index,
                          shape_text(tensor.dtype, {tensor.sizes, rank}), tensor.size_bytes,
                          spec.dynamic ? "at most " : "", shape_text(spec.dtype, spec.sizes));
}

// A tensor at its declared sizes.
cria_tensor tensor_at(void* data, const TensorSpec& spec) {
  cria_tensor tensor{data, spec.size_bytes, spec.dtype,
                     static_cast<std::int32_t>(spec.sizes.size())};
  std::ranges::copy(spec.sizes, tensor.sizes);
  return tensor;
}

}  // namespace

std::vector<std::string> Method::delegate_names() const {
  std::vector<std::string> names;
  for (const Call& call : calls_) names.emplace_back(delegates_[call.delegate]->name());
  return names;
}

Status Method::bind_state(std::span<std::byte> memory, cria_tensor& tensor) const {
  const std::uint64_t row_bytes = state_.size_bytes / static_cast<std::uint64_t>(state_.sizes[0]);
  const std::uint64_t n_given = memory.size() / row_bytes;
  const auto n_max = static_cast<std::uint64_t>(state_.sizes[0]);
  if (n_given == 0 || (n_given < n_max && !state_.dynamic)) {
    return invalid_argument("state memory of {} bytes, at least {} are needed", memory.size(),
                            state_.dynamic ? row_bytes : state_.size_bytes);
  }
  const std::uint64_t n_rows = std::min(n_given, n_max);
  tensor = tensor_at(memory.data(), state_);
  tensor.sizes[0] = static_cast<std::int64_t>(n_rows);
  tensor.size_bytes = n_rows * row_bytes;
  return {};
}

Status Method::bind(const MethodCall& call) {
  if (call.inputs.size() != inputs_.size() || call.outputs.size() != outputs_.size()) {
    return invalid_argument("{} inputs and {} outputs, expected {} and {}", call.inputs.size(),
                            call.outputs.size(), inputs_.size(), outputs_.size());
  }
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    CRIA_RETURN_IF_ERROR(check_argument(call.inputs[i], inputs_[i], "input", i));
    tensors_[input_slots_[i]] = call.inputs[i];
  }
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    CRIA_RETURN_IF_ERROR(check_argument(call.outputs[i], outputs_[i], "output", i));
    tensors_[output_slots_[i]] = call.outputs[i];
  }
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    if (slot.place == Place::kActivations) {
      tensors_[i] = tensor_at(call.activations.data() + slot.offset_bytes, slot.spec);
    } else if (slot.place == Place::kState) {
      CRIA_RETURN_IF_ERROR(bind_state(call.state, tensors_[i]));
    }
  }
  return {};
}

void Method::bind_arguments(Call& call) const {
  call.arguments.clear();
  for (const std::size_t slot : call.slots) call.arguments.push_back(tensors_[slot]);
}

// Delegates are plug-ins: what they say they wrote is checked, not believed.
Status Method::execute(Call& call) {
  DelegateInstance& delegate = *delegates_[call.delegate];
  CRIA_RETURN_IF_ERROR(delegate.execute(call.arguments));
  for (std::size_t i = 0; i < call.slots.size(); ++i) {
    const cria_tensor& was = tensors_[call.slots[i]];
    const cria_tensor& is = call.arguments[i];
    bool lowered = is.data == was.data && is.rank == was.rank && is.dtype == was.dtype &&
                   is.size_bytes <= was.size_bytes;
    for (std::int32_t axis = 0; lowered && axis < was.rank; ++axis) {
      lowered = is.sizes[axis] >= 0 && is.sizes[axis] <= was.sizes[axis];
    }
    if (!lowered) {
      return internal_error("{} gave argument {} a new place or larger sizes", delegate.name(), i);
    }
  }
  return {};
}

Status Method::run_call(Call& call) {
  bind_arguments(call);
  CRIA_RETURN_IF_ERROR(execute(call));
  for (std::size_t i = 0; i < call.slots.size(); ++i) tensors_[call.slots[i]] = call.arguments[i];
  return {};
}

// Calls see all arguments as they were bound; sizes that one has lowered stay lowered.
Status Method::run_queued() {
  for (Call& call : calls_) bind_arguments(call);
  CRIA_RETURN_IF_ERROR(queue_->run(order_, [this](std::size_t i) { return execute(calls_[i]); }));
  for (const Call& call : calls_) {
    for (std::size_t i = 0; i < call.slots.size(); ++i) {
      cria_tensor& tensor = tensors_[call.slots[i]];
      if (call.arguments[i].size_bytes < tensor.size_bytes) tensor = call.arguments[i];
    }
  }
  return {};
}

Status Method::run(const MethodCall& call) {
  Status status = bind(call);
  if (queue_ != nullptr) {
    if (status.ok()) status = run_queued();
  } else {
    for (std::size_t i = 0; status.ok() && i < calls_.size(); ++i) status = run_call(calls_[i]);
  }
  if (!status.ok()) return std::move(status).with_context("method " + name_);
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    call.outputs[i] = tensors_[output_slots_[i]];
  }
  return {};
}

}  // namespace cria
