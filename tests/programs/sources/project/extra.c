#include "util.h"

int extra(int number)
{
    return number * 2;
}
