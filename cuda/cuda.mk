# The CUDA backend, and its tests on the CPU.
#
#   make cuda          builds alol_cuda.so with nvcc; CUDA_HOME says where the
#                      toolkit is, CUDA_ARCHS for what (90, or 80 86 ...)
#   make check-cuda    the kernels, compiled by g++ and run on the CPU

CUDA_SOURCES = $(wildcard cuda/*.cu)

# ------------------------------------------------------- tests without a GPU
SHIM_BUILD = $(ENGINE_BUILD)/cuda
SHIM_FLAGS = -g -Wall -Wextra -Werror -Wshadow -Itest/cuda/shim -I. \
	-Isrc/engine -DALOL_VERSION='"$(EXTVERSION)"' \
	-DALOL_DEVICE_LAYOUT='"$(DEVICE_LAYOUT)"' -fPIC -MMD -MP
SHIM_CFLAGS = -std=gnu11 -D_GNU_SOURCE -Wstrict-prototypes \
	-Wmissing-prototypes $(SHIM_FLAGS)
# Kernels contract a * b + c as nvcc does; it alone knows their pragmas.
SHIM_CXXFLAGS = -std=gnu++17 -Wno-unknown-pragmas -ffp-contract=fast \
	$(SHIM_FLAGS)
ifeq ($(SANITIZE),1)
SHIM_FLAGS += -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer
else
SHIM_FLAGS += -O2
endif
SHIM_OBJECTS = $(patsubst cuda/%.cu,$(SHIM_BUILD)/%.o,$(CUDA_SOURCES)) \
	$(patsubst test/cuda/shim/%.c,$(SHIM_BUILD)/shim/%.o,$(wildcard test/cuda/shim/*.c))

$(SHIM_BUILD)/%.o: cuda/%.cu
	@mkdir -p $(@D)
	$(CXX) -x c++ $(SHIM_CXXFLAGS) -c -o $@ $<

$(SHIM_BUILD)/shim/%.o: test/cuda/shim/%.c
	@mkdir -p $(@D)
	$(CC) $(SHIM_CFLAGS) -c -o $@ $<

CUDA_TESTS = $(patsubst test/cuda/%.c,$(SHIM_BUILD)/test/%,$(wildcard test/cuda/*_test.c)) \
	$(patsubst test/cuda/%.cu,$(SHIM_BUILD)/test/%,$(wildcard test/cuda/*_test.cu))

$(SHIM_BUILD)/test/%: test/cuda/%.cu $(SHIM_OBJECTS) $(ENGINE_LIBRARY)
	@mkdir -p $(@D)
	$(CXX) -x c++ $(SHIM_CXXFLAGS) -fopenmp -Itest/engine -o $@ $< \
		-x none $(SHIM_OBJECTS) $(ENGINE_LIBRARY) $(ENGINE_LIBS) -lcmocka

$(SHIM_BUILD)/test/%: test/cuda/%.c $(SHIM_OBJECTS) $(ENGINE_LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(ENGINE_CFLAGS) -Itest/cuda -Itest/cuda/shim \
		-Itest/engine -o $@ $< $(SHIM_OBJECTS) $(ENGINE_LIBRARY) \
		$(ENGINE_LIBS) -lstdc++ -lcmocka

-include $(SHIM_OBJECTS:.o=.d) $(CUDA_TESTS:=.d)

cuda-tests: $(CUDA_TESTS)
list-cuda-tests:
	@echo $(sort $(CUDA_TESTS))
check-cuda: $(CUDA_TESTS)
	@set -e; for test in $(sort $(CUDA_TESTS)); do \
		echo "# $$test"; OMP_NUM_THREADS=2 $$test; done

.PHONY: cuda-tests list-cuda-tests check-cuda
