/* The keywords ps_{int,int32,int16,str,num}_{publish,poll,lag}: custom ops, called without method look-up. */
#ifndef PS_KEYWORD_H
#define PS_KEYWORD_H

#include "object.h"

/* Registers the keywords with XS::Parse::Keyword, once in a process, and their ops with this interpreter. */
void ps_register_keywords(pTHX);

#endif
