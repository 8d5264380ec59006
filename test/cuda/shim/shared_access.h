/*
 * shared_access.h
 *		Pointers into a block's shared memory that show each access to the
 *		shim: cuda/shared.h on the CPU.
 */
#pragma once

#include "shim.h"

template <typename T> struct SharedRef
{
	size_t at;

	operator T() const
	{
		T value;

		shim_shared_read(at, &value, sizeof(T));
		return value;
	}

	const SharedRef &
	operator=(T value) const
	{
		shim_shared_write(at, &value, sizeof(T));
		return *this;
	}

	const SharedRef &
	operator=(const SharedRef &other) const
	{
		return *this = (T) other;
	}

	const SharedRef &
	operator+=(T value) const
	{
		return *this = (T) ((T) * this + value);
	}

	const SharedRef &
	operator*=(T value) const
	{
		return *this = (T) ((T) * this * value);
	}
};

/* A pointer that knows what it may point into. */
template <typename T> struct Shared
{
	static_assert(sizeof(T) >= 2, "the shim tells pairs of bytes apart");

	size_t at;
	size_t begin;
	size_t end;

	SharedRef<T>
	operator[](long index) const
	{
		size_t to = at + (size_t) index * sizeof(T);

		if (to < begin || to > end || sizeof(T) > end - to)
			shim_fault("element %ld of a shared array of %zu bytes, %zu bytes "
			           "after its begin, in %s",
			           index, end - begin, at - begin, shim_place());
		return SharedRef<T>{to};
	}

	SharedRef<T>
	operator*() const
	{
		return (*this)[0];
	}

	Shared
	operator+(long count) const
	{
		return Shared{at + (size_t) count * sizeof(T), begin, end};
	}
};

/* The same bytes as another type. */
template <typename U, typename T>
static inline Shared<U>
shared_as(Shared<T> from)
{
	return Shared<U>{from.at, from.begin, from.end};
}

template <typename T>
static inline Shared<T>
shim_shared_array(const char *key, size_t count)
{
	size_t at = shim_shared_variable(key, count * sizeof(T));

	return Shared<T>{at, at, at + count * sizeof(T)};
}

template <typename T>
static inline Shared<T>
dynamic_shared(void)
{
	size_t bytes;
	size_t at = shim_shared_dynamic(&bytes);

	return Shared<T>{at, at, at + bytes};
}

#define SHIM_KEY_OF(line) #line
#define SHIM_KEY(line) SHIM_KEY_OF(line)
#define SHARED(type, name, count)                                              \
	Shared<type> name = shim_shared_array<type>(                               \
		__FILE__ ":" SHIM_KEY(__LINE__) " " #name, (size_t) (count))
