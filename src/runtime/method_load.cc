// Method::load: from what the file says to slots, delegates and calls.
#include <algorithm>
#include <map>
#include <numeric>
#include <variant>

#include "format/pte/call_order.h"
#include "format/pte/pte_reader.h"
#include "runtime/method.h"

namespace cria {
namespace {

constexpr std::uint32_t kActivationArena = 1, kStateArena = 2;
constexpr std::size_t kMaxRank = std::size(cria_tensor{}.sizes);

std::uint64_t arena_bytes(const pte::ExecutionPlan& plan, std::uint32_t arena) {
  if (arena >= plan.non_const_buffer_sizes.size()) return 0;
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, plan.non_const_buffer_sizes[arena]));
}

Result<TensorSpec> tensor_spec(const pte::Tensor& tensor) {
  const std::optional<std::uint64_t> size_bytes = pte::tensor_bytes(tensor);
  if (!size_bytes) {
    return unsupported("a tensor of element type {}, or of overflowing size",
                       static_cast<int>(tensor.scalar_type));
  }
  if (tensor.sizes.size() > kMaxRank) {
    return unsupported("a tensor of rank {}, at most {} are supported", tensor.sizes.size(),
                       kMaxRank);
  }
  if (tensor.shape_dynamism == pte::ShapeDynamism::kDynamicUnbound) {
    return unsupported("a tensor without bounds");
  }
  std::vector<std::uint8_t> in_order(tensor.dim_order.size());
  std::iota(in_order.begin(), in_order.end(), std::uint8_t{0});
  if (tensor.dim_order != in_order || tensor.storage_offset != 0) {
    return unsupported("a tensor that is not contiguous");
  }
  TensorSpec spec;
  spec.dtype = static_cast<std::int32_t>(tensor.scalar_type);
  spec.sizes.assign(tensor.sizes.begin(), tensor.sizes.end());
  spec.dynamic = tensor.shape_dynamism == pte::ShapeDynamism::kDynamicBound;
  spec.element_bytes = pte::scalar_type_bytes(tensor.scalar_type);
  spec.size_bytes = *size_bytes;
  return spec;
}

// An instruction that only a full interpreter could run, for the error.
std::string describe(const pte::Instruction& instruction, const pte::ExecutionPlan& plan) {
  if (const auto* call = std::get_if<pte::KernelCall>(&instruction)) {
    const pte::Operator& op = plan.operators[static_cast<std::size_t>(call->op_index)];
    return fmt::format("a call of operator {}{}{}", op.name, op.overload.empty() ? "" : ".",
                       op.overload);
  }
  if (std::holds_alternative<pte::MoveCall>(instruction)) return "a move";
  if (std::holds_alternative<pte::JumpFalseCall>(instruction)) return "a jump";
  return "a free";
}

}  // namespace

class Method::Loader {
 public:
  Loader(const pte::ExecutionPlan& plan, const MethodEnvironment& environment)
      : plan_(plan), environment_(environment), method_(new Method) {}

  Result<std::unique_ptr<Method>> load() {
    method_->name_ = plan_.name;
    method_->activation_bytes_ = arena_bytes(plan_, kActivationArena);
    CRIA_RETURN_IF_ERROR(
        add_arguments(plan_.inputs, Place::kInput, method_->inputs_, method_->input_slots_));
    CRIA_RETURN_IF_ERROR(
        add_arguments(plan_.outputs, Place::kOutput, method_->outputs_, method_->output_slots_));
    for (const pte::Chain& chain : plan_.chains) {
      for (const pte::Instruction& instruction : chain.instructions) {
        CRIA_RETURN_IF_ERROR(add_call(instruction));
      }
    }
    method_->tensors_.resize(method_->slots_.size());
    const bool has_device = std::ranges::any_of(method_->order_, &CallQueue::Call::on_device);
    if (has_device && all_ordered_ && may_overlap() && !environment_.on_op &&
        !environment_.on_input) {
      method_->queue_ = std::make_unique<CallQueue>();
    }
    return std::move(method_);
  }

 private:
  // Whether some call does not wait for the one before it. Where all do, as those of a decode step
  // mostly, a queue would only wake threads.
  bool may_overlap() const {
    const std::vector<CallQueue::Call>& order = method_->order_;
    for (std::size_t i = 1; i < order.size(); ++i) {
      if (std::ranges::find(order[i].after, i - 1) == order[i].after.end()) return true;
    }
    return false;
  }

  Status add_arguments(const std::vector<std::int32_t>& indices, Place place,
                       std::vector<TensorSpec>& specs, std::vector<std::size_t>& slots) {
    for (std::int32_t index : indices) {
      if (slot_of_value_.contains(index)) {
        return unsupported("value {} is an input or output twice", index);
      }
      CRIA_ASSIGN_OR_RETURN(const pte::Tensor* tensor, tensor_of(index));
      Result<TensorSpec> spec = tensor_spec(*tensor);
      if (!spec.ok()) return value_error(std::move(spec).status(), index);
      specs.push_back(*spec);
      slots.push_back(add_slot(index, {.spec = std::move(*spec), .place = place}));
    }
    return {};
  }

  Result<const pte::Tensor*> tensor_of(std::int32_t index) const {
    const pte::Value& value = plan_.values[static_cast<std::size_t>(index)];
    const auto* tensor = std::get_if<pte::Tensor>(&value);
    if (tensor != nullptr) return tensor;
    return unsupported("value {} is a {}, only tensors are supported", index,
                       pte::value_kind_name(value));
  }

  static Status value_error(Status status, std::int32_t index) {
    return std::move(status).with_context(fmt::format("value {}", index));
  }

  std::size_t add_slot(std::int32_t index, Slot slot) {
    method_->slots_.push_back(std::move(slot));
    return slot_of_value_[index] = method_->slots_.size() - 1;
  }

  Status add_call(const pte::Instruction& instruction) {
    const auto* delegate_call = std::get_if<pte::DelegateCall>(&instruction);
    if (delegate_call == nullptr) {
      return unsupported("{}, only delegate calls are supported", describe(instruction, plan_));
    }
    Call call;
    CRIA_ASSIGN_OR_RETURN(call.delegate, delegate_of(delegate_call->delegate_index));
    for (std::int32_t index : delegate_call->args) {
      CRIA_ASSIGN_OR_RETURN(const std::size_t slot, slot_of(index));
      call.slots.push_back(slot);
    }
    CRIA_RETURN_IF_ERROR(add_order(plan_.delegates[delegate_call->delegate_index]));
    method_->calls_.push_back(std::move(call));
    return {};
  }

  // What the call waits for, if its program says so.
  Status add_order(const pte::BackendDelegate& described) {
    CRIA_ASSIGN_OR_RETURN(const cria_delegate* table, environment_.registry.find(described.id));
    CallQueue::Call order{table->has_queue == 1, {}};
    CRIA_ASSIGN_OR_RETURN(const auto after,
                          pte::read_call_order(described, method_->calls_.size()));
    all_ordered_ = all_ordered_ && after.has_value();
    if (after) order.after = *after;
    method_->order_.push_back(std::move(order));
    return {};
  }

  Result<std::size_t> slot_of(std::int32_t index) {
    if (const auto known = slot_of_value_.find(index); known != slot_of_value_.end()) {
      return known->second;
    }
    CRIA_ASSIGN_OR_RETURN(const pte::Tensor* tensor, tensor_of(index));
    Result<Slot> slot = internal_slot(*tensor);
    if (!slot.ok()) return value_error(std::move(slot).status(), index);
    return add_slot(index, std::move(*slot));
  }

  Result<Slot> internal_slot(const pte::Tensor& tensor) {
    if (!tensor.allocation || tensor.data_buffer_idx != 0) {
      return unsupported("a tensor with constant or initial data as a delegate's argument");
    }
    Slot slot;
    CRIA_ASSIGN_OR_RETURN(slot.spec, tensor_spec(tensor));
    slot.offset_bytes = tensor.allocation->offset_bytes;
    const std::uint32_t arena = tensor.allocation->memory_id;
    const std::uint64_t available = arena_bytes(plan_, arena);
    if (slot.spec.size_bytes > available || slot.offset_bytes > available - slot.spec.size_bytes ||
        slot.offset_bytes % slot.spec.element_bytes != 0) {
      return bad_input("{} bytes at {} of arena {}, which has {}", slot.spec.size_bytes,
                       slot.offset_bytes, arena, available);
    }
    if (arena == kActivationArena) return slot;
    if (arena != kStateArena) return unsupported("memory in arena {}, expected 1 or 2", arena);
    if (!method_->state_.sizes.empty() || slot.offset_bytes != 0 || slot.spec.sizes.empty() ||
        slot.spec.size_bytes == 0) {
      return unsupported("arena 2 must hold one tensor from its start, not empty");
    }
    slot.place = Place::kState;
    method_->state_ = slot.spec;
    return slot;
  }

  // The instance of a delegate of the plan, made when the first call needs it.
  Result<std::size_t> delegate_of(std::int32_t plan_index) {
    if (const auto known = delegate_of_plan_.find(plan_index); known != delegate_of_plan_.end()) {
      return known->second;
    }
    const pte::BackendDelegate& described = plan_.delegates[static_cast<std::size_t>(plan_index)];
    CRIA_ASSIGN_OR_RETURN(const cria_delegate* table, environment_.registry.find(described.id));
    CRIA_ASSIGN_OR_RETURN(const DelegateInstance::Options options, options_of(described));
    CRIA_ASSIGN_OR_RETURN(
        std::unique_ptr<DelegateInstance> instance,
        DelegateInstance::create(table, environment_.program, environment_.pool,
                                 environment_.program.pte().delegate_blob(described), options,
                                 {on_record_of(table->name), on_input_of(table->name)}));
    method_->delegates_.push_back(std::move(instance));
    return delegate_of_plan_[plan_index] = method_->delegates_.size() - 1;
  }

  DelegateInstance::OnRecord on_record_of(const char* delegate) const {
    if (!environment_.on_op) return {};
    return [listener = environment_.on_op, method = plan_.name,
            delegate](const cria_op_record& record) {
      listener({method, delegate, record});
    };
  }

  DelegateInstance::OnInput on_input_of(const char* delegate) const {
    if (!environment_.on_input) return {};
    return [listener = environment_.on_input, method = plan_.name,
            delegate](const cria_input_record& record) {
      listener({method, delegate, record});
    };
  }

  Result<DelegateInstance::Options> options_of(const pte::BackendDelegate& described) const {
    DelegateInstance::Options options;
    for (const pte::CompileSpec& spec : described.compile_specs) {
      if (spec.key == pte::kCallOrderSpec) continue;  // is the runtime's
      std::string value(reinterpret_cast<const char*>(spec.value.data()), spec.value.size());
      if (value.find('\0') != std::string::npos || spec.key.find('\0') != std::string::npos) {
        return unsupported("delegate {}: compile spec '{}' is not text", described.id,
                           spec.key.c_str());
      }
      options.emplace_back(spec.key, std::move(value));
    }
    for (const DelegateOption& option : environment_.options) {
      if (!option.delegate.empty() && option.delegate != described.id) continue;
      options.emplace_back(option.key, option.value);
    }
    return options;
  }

  const pte::ExecutionPlan& plan_;
  const MethodEnvironment& environment_;
  std::unique_ptr<Method> method_;
  bool all_ordered_ = true;  // every call says what it waits for
  std::map<std::int32_t, std::size_t> slot_of_value_;
  std::map<std::int32_t, std::size_t> delegate_of_plan_;
};

Result<std::unique_ptr<Method>> Method::load(const std::string& name,
                                             const MethodEnvironment& environment) {
  CRIA_ASSIGN_OR_RETURN(const pte::ExecutionPlan* plan, environment.program.plan(name));
  Result<std::unique_ptr<Method>> method = Loader(*plan, environment).load();
  if (!method.ok()) return std::move(method).status().with_context("method " + name);
  return method;
}

}  // namespace cria
